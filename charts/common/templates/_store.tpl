{{/*
Everything that a store is made of: one pod with a volume, behind a Service. Takes root; container and volumes, the names of
templates for what only this store has; credential, a template for the Secret's content; files, one for a ConfigMap's; started,
one for a command that tells when it has started; egress, one for the rules of where it goes; queues, the family of the
metrics that it has of each queue; wave, where it is not a store's.
*/}}
{{- define "common.store" -}}
{{ include "common.serviceAccount" .root }}
{{- if .credential }}
{{- $credential := include "common.storeCredential" . | fromYaml }}
{{- with $credential.make }}
---
{{ include "common.secret" (dict "root" $.root "name" $credential.secret "make" .) }}
{{- end }}
{{- end }}
{{- if .files }}
---
{{ include "common.configMap" . }}
{{- end }}
---
{{ include "common.storeService" .root }}
---
{{ include "common.pdb" .root }}
{{- if ((.root.Values.global).networkPolicies).enabled }}
---
{{ include "common.storeNetworkPolicy" .root }}
  {{- with .egress }}
  egress:
    {{- include . $.root | nindent 4 }}
  {{- end }}
{{- end }}
---
{{ include "common.statefulSet" . }}
{{- if and (((.root.Values.global).monitoring).serviceMonitors) .root.Values.ports.metrics }}
---
{{ include "common.serviceMonitor" . }}
{{- end }}
{{- end -}}

{{/* The store's Secret: the existing one, or the one that it makes under its own name. */}}
{{- define "common.storeCredential" -}}
{{- include "common.credential" (dict "root" .root "path" "" "from" .root.Values "field" "password" "least" 16 "own" (include "common.fullname" .root) "make" (include .credential .root | fromYaml)) -}}
{{- end -}}

{{- define "common.storeSecretName" -}}
{{- .Values.existingSecret | default (include "common.fullname" .) -}}
{{- end -}}

{{/* One key of the store's Secret as an environment variable. Takes root, name, key. */}}
{{- define "common.storeEnv" -}}
- name: {{ .name }}
  valueFrom: { secretKeyRef: { name: {{ include "common.storeSecretName" .root | quote }}, key: {{ .key }} } }
{{- end -}}

{{- define "common.configMap" -}}
apiVersion: v1
kind: ConfigMap
metadata:
  {{- include "common.metadata" (dict "root" .root "wave" 0) | nindent 2 }}
data:
  {{- include .files .root | nindent 2 }}
{{- end -}}

{{- define "common.storeService" -}}
apiVersion: v1
kind: Service
metadata:
  {{- include "common.metadata" (dict "root" . "wave" 0) | nindent 2 }}
spec:
  type: ClusterIP
  selector:
    {{- include "common.selectorLabels" (dict "root" .) | nindent 4 }}
  ports:
    {{- range $name, $port := .Values.ports }}
    - { name: {{ $name }}, port: {{ $port }}, targetPort: {{ $name }}, protocol: TCP }
    {{- end }}
{{- end -}}

{{- define "common.statefulSet" -}}
{{- $root := .root -}}
apiVersion: apps/v1
kind: StatefulSet
metadata:
  {{- include "common.metadata" (dict "root" .root "wave" (.wave | default 1)) | nindent 2 }}
spec:
  serviceName: {{ include "common.fullname" .root }}
  replicas: 1
  revisionHistoryLimit: 3
  selector:
    matchLabels:
      {{- include "common.selectorLabels" (dict "root" .root) | nindent 6 }}
  template:
    metadata:
      labels:
        {{- include "common.podLabels" (dict "root" .root) | nindent 8 }}
      {{- with .files }}
      annotations:
        platform.ecommerce.dev/config: {{ include . $root | sha256sum | trunc 16 | quote }}
      {{- end }}
    spec:
      {{- include "common.podSecurity" (dict "root" .root "uid" 999) | trim | nindent 6 }}
      terminationGracePeriodSeconds: 60
      containers:
        - name: {{ include "common.chart" .root }}
          {{- include "common.containerImage" .root | nindent 10 }}
          ports:
            {{- include "common.containerPorts" .root.Values.ports | trim | nindent 12 }}
          {{- include "common.storeProbes" . | nindent 10 }}
          {{- include .container .root | nindent 10 }}
          resources:
            {{- toYaml .root.Values.resources | nindent 12 }}
          {{- include "common.containerSecurity" .root | nindent 10 }}
      volumes:
        {{- include .volumes .root | nindent 8 }}
  {{- with .root.Values.storage }}
  persistentVolumeClaimRetentionPolicy:
    whenDeleted: {{ ($root.Values.global).deletionPolicy | default "Retain" }}
    whenScaled: Retain
  volumeClaimTemplates:
    - metadata:
        name: data
        labels:
          {{- include "common.identity" (dict "root" $root) | nindent 10 }}
      spec:
        accessModes: [ReadWriteOnce]
        {{- with .storageClassName | default ($root.Values.global).storageClassName }}
        storageClassName: {{ . | quote }}
        {{- end }}
        resources: { requests: { storage: {{ .size }} } }
  {{- end }}
{{- end -}}

{{/*
A store opens its port when it has started, so a connection is enough, and does not kill a database that takes its time to
recover. A store that can tell better when it has started says so by a command; not again and again, since each costs as
much processor time as an idle store in ten seconds.
*/}}
{{- define "common.storeProbes" -}}
startupProbe:
  {{- if .started }}
  exec: { command: {{ include .started .root | fromYamlArray | toJson }} }
  {{- else }}
  tcpSocket: { port: {{ .root.Values.serve }} }
  {{- end }}
  periodSeconds: 1
  timeoutSeconds: 5
  failureThreshold: 600
livenessProbe:
  tcpSocket: { port: {{ .root.Values.serve }} }
  periodSeconds: 10
  timeoutSeconds: 5
  failureThreshold: 6
readinessProbe:
  tcpSocket: { port: {{ .root.Values.serve }} }
  periodSeconds: 5
  timeoutSeconds: 5
  failureThreshold: 2
{{- end -}}
