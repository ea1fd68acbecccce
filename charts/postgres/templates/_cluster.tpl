{{/*
The database as a Cluster of CloudNativePG, which makes its pods, volumes, Services and disruption budgets, and keeps
it available. docs/adr/0065 describes what of it is the shop's and what is CloudNativePG's.
*/}}
{{- define "postgres.cluster" -}}
{{- $credential := include "common.storeCredential" (dict "root" . "credential" "postgres.credential") | fromYaml }}
{{- with $credential.content }}
{{ include "common.secret" (dict "root" $ "name" $credential.secret "content" .) }}
---
{{- end }}
{{- if and (include "common.storeHasTls" .) (not .Values.existingSecret) }}
{{ include "common.certificateSecret" . }}
---
{{- end }}
{{- if ((.Values.global).networkPolicies).enabled }}
{{ include "postgres.clusterNetworkPolicy" . }}
---
{{- end }}
apiVersion: postgresql.cnpg.io/v1
kind: Cluster
metadata:
  {{- include "common.metadata" (dict "root" . "wave" 1) | nindent 2 }}
    cnpg.io/hibernation: {{ ternary "on" "off" (eq ((.Values.global).hibernated | default "") "All") | quote }}
    {{- with include "common.keepAnnotations" . }}
    {{- . | nindent 4 }}
    {{- end }}
spec:
  {{- include "postgres.clusterSpec" (dict "root" . "secret" $credential.secret) | nindent 2 }}
{{- end -}}

{{/*
The spec of the Cluster. The user postgres of the official image has the id 999. Takes root, and secret, the name of
the Secret of the owner.
*/}}
{{- define "postgres.clusterSpec" -}}
{{- $values := .root.Values -}}
{{- $instances := int $values.instances -}}
instances: {{ $instances }}
imageName: {{ include "common.image" .root }}
imagePullPolicy: {{ (($values.global).image).pullPolicy | default "IfNotPresent" }}
{{- with (($values.global).image).pullSecrets }}
imagePullSecrets:
  {{- range . }}
  - name: {{ . | quote }}
  {{- end }}
{{- end }}
postgresUID: 999
postgresGID: 999
{{- /* Services keep their connections: a smart shutdown would refuse new ones for 3 minutes, and end those then. */}}
smartShutdownTimeout: 0
{{- /* A budget for one server would never let its node be drained. */}}
enablePDB: {{ gt $instances 1 }}
{{- if gt $instances 1 }}
primaryUpdateMethod: switchover
{{- end }}
inheritedMetadata:
  {{- $pods := include "common.extraMetadata" (dict "root" .root "part" "pods" "field" "labels") | fromYaml }}
  labels: {{ include "common.stableLabels" (dict "root" .root) | fromYaml | merge (dict) $pods | toJson }}
  {{- with include "common.podAnnotations" (dict "root" .root) }}
  {{- . | nindent 2 }}
  {{- end }}
bootstrap:
  initdb:
    database: {{ $values.database }}
    owner: {{ $values.username }}
    secret: { name: {{ .secret | quote }} }
    encoding: UTF8
    localeCollate: C.UTF-8
    localeCType: C.UTF-8
    dataChecksums: true
    {{- /* The owner makes the runtime role, and ends the connections of a retired one: docs/adr/0029 and 0046. */}}
    postInitSQL:
      - ALTER ROLE "{{ $values.username }}" CREATEROLE
      - GRANT pg_signal_backend TO "{{ $values.username }}"
postgresql:
  parameters:
    {{- range $name, $value := include "postgres.parameters" .root | fromYaml }}
    {{ $name }}: {{ $value | toString | quote }}
    {{- end }}
  {{- if gt $instances 1 }}
  {{- /* A committed order is on two servers. Of two, the one that is left goes on alone. */}}
  synchronous: { method: any, number: 1, dataDurability: {{ ternary "preferred" "required" (eq $instances 2) }} }
  {{- end }}
  {{- if include "common.storeHasTls" .root }}
  pg_hba: [hostnossl all all all reject]
  {{- end }}
{{- if include "common.storeHasTls" .root }}
{{- $certificate := include "common.certificateSecretName" .root }}
certificates: { serverTLSSecret: {{ $certificate }}, serverCASecret: {{ $certificate }} }
{{- end }}
storage:
  size: {{ $values.storage.size }}
  {{- with $values.storage.storageClassName | default ($values.global).storageClassName }}
  storageClass: {{ . | quote }}
  {{- end }}
resources:
  {{- toYaml $values.resources | nindent 2 }}
{{- include "postgres.clusterScheduling" .root }}
{{- if (($values.global).monitoring).serviceMonitors }}
monitoring: { enablePodMonitor: true }
{{- end }}
{{- end -}}

{{/* Where the pods run, as `common.podScheduling` says it of others, under the names that a Cluster has. */}}
{{- define "postgres.clusterScheduling" -}}
{{- $pods := (.Values.global).pods | default dict -}}
{{- $affinity := pick $pods "nodeSelector" "tolerations" -}}
{{- $names := dict
  "nodeAffinity" "nodeAffinity"
  "podAffinity" "additionalPodAffinity"
  "podAntiAffinity" "additionalPodAntiAffinity"
-}}
{{- range $name, $rules := $pods.affinity -}}
{{- $_ := set $affinity (get $names $name) $rules -}}
{{- end -}}
{{- with $affinity }}
affinity: {{ toJson . }}
{{- end }}
{{- with $pods.priorityClassName }}
priorityClassName: {{ . | quote }}
{{- end }}
{{- end -}}

{{/*
The connections of a Cluster, beside those from its clients: its servers, and the Jobs that make them, reach each other,
and the API server, by which CloudNativePG instructs them. CloudNativePG reaches their status port, which also starts
backups and replaces the binary of the instance manager: so it is admitted from one namespace.
*/}}
{{- define "postgres.clusterNetworkPolicy" -}}
{{- $own := list (include "common.component" .) -}}
{{ include "common.networkPolicy" (dict "root" .) }}
  ingress:
    - ports: [{ port: 5432, protocol: TCP }]
      from:
        {{- if .Values.clients }}
        {{- include "common.peers" (dict "root" . "components" (concat .Values.clients $own)) | nindent 8 }}
        {{- else }}
        - podSelector: {}
        {{- end }}
    - ports: [{ port: 8000, protocol: TCP }]
      from:
        {{- include "common.peers" (dict "root" . "components" $own) | nindent 8 }}
    - ports: [{ port: 8000, protocol: TCP }, { port: 5432, protocol: TCP }]
      from:
        - namespaceSelector:
            {{- with .Values.cloudNativePgNamespace }}
            matchLabels: { kubernetes.io/metadata.name: {{ . | quote }} }
            {{- else }} {}
            {{- end }}
          podSelector:
            matchLabels: { app.kubernetes.io/name: cloudnative-pg }
    {{- if ((.Values.global).monitoring).serviceMonitors }}
    {{- include "common.metricsIngress" . | nindent 4 }}
    {{- end }}
  egress:
    {{- include "common.dnsEgress" . | nindent 4 }}
    - ports: [{ port: 5432, protocol: TCP }, { port: 8000, protocol: TCP }]
      to:
        {{- include "common.peers" (dict "root" . "components" $own) | nindent 8 }}
    - ports:
        {{- range .Values.apiServerPorts }}
        - { port: {{ . }}, protocol: TCP }
        {{- end }}
{{- end -}}
