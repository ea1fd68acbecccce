{{/*
All objects of a store: one pod with a volume, behind a Service. Takes
  root
  container, volumes: the names of templates for the parts of the pod that only this store has
  initContainer:      the name of a template for a container that runs before the store
  credential:         the name of a template for the content of its Secret
  files:              the name of a template for the content of its ConfigMap
  startupCommand:     the name of a template for a command that succeeds once the store has started
  egress:             the name of a template for the rules that allow its outgoing connections
  queueMetrics:       the family of its per-queue metrics
  tls:                whether it has a certificate
  wave:               where it differs from that of stores
*/}}
{{- define "common.store" -}}
{{ include "common.serviceAccount" .root }}
{{- if .credential }}
{{- $credential := include "common.storeCredential" . | fromYaml }}
{{- with $credential.content }}
---
{{ include "common.secret" (dict "root" $.root "name" $credential.secret "content" .) }}
{{- end }}
{{- end }}
{{- if and .tls (include "common.storeHasTls" .root) (not .root.Values.existingSecret) }}
---
{{ include "common.certificateSecret" .root }}
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

{{/* The Secret of a store: an existing one, or one that its chart creates under its own name. */}}
{{- define "common.storeCredential" -}}
{{- $credential := dict
  "root" .root
  "path" ""
  "values" .root.Values
  "field" "password"
  "minLength" 16
  "createdSecret" (include "common.fullname" .root)
  "content" (include .credential .root | fromYaml)
-}}
{{- include "common.credential" $credential -}}
{{- end -}}

{{- define "common.storeSecretName" -}}
{{- .Values.existingSecret | default (include "common.fullname" .) -}}
{{- end -}}

{{/* The Secret of a service's own broker user, from the broker's chart or the operator. Takes root and service. */}}
{{- define "common.brokerSecret" -}}
{{- printf "%s-%s-broker" (include "common.platform" .root) .service -}}
{{- end -}}

{{/* An environment variable with the value of one key of the store's Secret. Takes root, name and key. */}}
{{- define "common.storeSecretEnv" -}}
- name: {{ .name }}
  valueFrom: { secretKeyRef: { name: {{ include "common.storeSecretName" .root | quote }}, key: {{ .key }} } }
{{- end -}}

{{/*
A part of a shell script: runs a command in the background once files of a mounted Secret have changed, and again after
a minute if it fails, so that a renewed certificate or a rotated password restarts no store. It belongs before what
reads the files at the start. Takes files and command.
*/}}
{{- define "common.onChange" -}}
used=$(cat {{ .files }})
(
  while sleep 60; do
    new=$(cat {{ .files }}) || continue
    if [ "$new" != "$used" ] && {{ .command }} >/dev/null; then used=$new; fi
  done
) &
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

{{/*
The annotations by which Helm and Argo CD leave an object that takes its volumes with it, unless the policy is Delete.
*/}}
{{- define "common.keepAnnotations" -}}
{{- if ne ((.Values.global).deletionPolicy | default "Retain") "Delete" -}}
helm.sh/resource-policy: keep
argocd.argoproj.io/sync-options: Prune=false
{{- end -}}
{{- end -}}

{{- define "common.statefulSet" -}}
{{- $root := .root -}}
{{- $annotations := dict -}}
{{- with .files -}}
{{- $_ := set $annotations "platform.ecommerce.dev/config" (include . $root | sha256sum | trunc 16) -}}
{{- end -}}
{{- if .initContainer -}}
{{- $_ := set $annotations "kubectl.kubernetes.io/default-container" (include "common.chartName" .root) -}}
{{- end -}}
apiVersion: apps/v1
kind: StatefulSet
metadata:
  {{- include "common.metadata" (dict "root" .root "wave" (.wave | default 1)) | nindent 2 }}
spec:
  serviceName: {{ include "common.fullname" .root }}
  replicas: {{ ternary 0 1 (eq ((.root.Values.global).hibernated | default "") "All") }}
  revisionHistoryLimit: 3
  selector:
    matchLabels:
      {{- include "common.selectorLabels" (dict "root" .root) | nindent 6 }}
  template:
    metadata:
      labels:
        {{- include "common.podLabels" (dict "root" .root) | nindent 8 }}
        {{- with include "common.extraMetadata" (dict "root" .root "part" "pods" "field" "labels") }}
        {{- trim . | nindent 8 }}
        {{- end }}
      {{- with include "common.podAnnotations" (dict "root" .root "own" $annotations) }}
      {{- trim . | nindent 6 }}
      {{- end }}
    spec:
      {{- include "common.podSecurity" (dict "root" .root "uid" 999) | trim | nindent 6 }}
      {{- with include "common.podScheduling" .root }}
      {{- trim . | nindent 6 }}
      {{- end }}
      terminationGracePeriodSeconds: 60
      {{- with .initContainer }}
      initContainers:
        - {{- include . $root | nindent 10 }}
      {{- end }}
      containers:
        - name: {{ include "common.chartName" .root }}
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
          {{- include "common.stableLabels" (dict "root" $root) | nindent 10 }}
      spec:
        accessModes: [ReadWriteOnce]
        {{- with .storageClassName | default ($root.Values.global).storageClassName }}
        storageClassName: {{ . | quote }}
        {{- end }}
        resources: { requests: { storage: {{ .size }} } }
  {{- end }}
{{- end -}}

{{/*
A store opens its port when it has started, so the probes only open a connection; this does not kill a database that
takes long to recover. A store for which that is not exact enough has a command for its startup probe. The other probes
do not run it, because each run costs as much processor time as an idle store uses in ten seconds.
*/}}
{{- define "common.storeProbes" -}}
startupProbe:
  {{- with .startupCommand }}
  exec: { command: {{ include . $.root | fromYamlArray | toJson }} }
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
