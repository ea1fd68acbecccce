{{/* All objects of a service. Its values define what distinguishes it from others. */}}
{{- define "common.service" -}}
{{ include "common.serviceAccount" . }}
{{ include "common.secrets" . }}
---
{{ include "common.httpService" . }}
{{- if .Values.ports.grpc }}
---
{{ include "common.grpcService" . }}
{{- end }}
---
{{ include "common.pdb" . }}
{{- if ((.Values.global).networkPolicies).enabled }}
---
{{ include "common.serviceNetworkPolicy" . }}
{{- end }}
{{- if .Values.database }}
{{- if ((.Values.global).networkPolicies).enabled }}
---
{{ include "common.migrationNetworkPolicy" . }}
{{- end }}
{{- if not (.Values.global).hibernated }}
---
{{ include "common.migrationJob" . }}
{{- end }}
{{- end }}
---
{{ include "common.deployment" . }}
{{- if and .Values.autoscaling.enabled (not (.Values.global).hibernated) }}
---
{{ include "common.hpa" . }}
{{- end }}
{{- if ((.Values.global).monitoring).serviceMonitors }}
---
{{ include "common.serviceMonitor" (dict "root" .) }}
{{- end }}
{{- end -}}

{{- define "common.deployment" -}}
apiVersion: apps/v1
kind: Deployment
metadata:
  {{- /* The gateway routes to the other services, so it is applied after them. */}}
  {{- include "common.metadata" (dict "root" . "wave" (ternary 4 3 (hasKey .Values "routes"))) | nindent 2 }}
spec:
  {{- if (.Values.global).hibernated }}
  replicas: 0
  {{- else if not .Values.autoscaling.enabled }}
  replicas: {{ .Values.replicas }}
  {{- end }}
  {{- /* Of several pods the first new one is a canary: the next follows when it has been ready for so long. */}}
  {{- if gt (int (ternary .Values.autoscaling.min .Values.replicas .Values.autoscaling.enabled)) 1 }}
  minReadySeconds: 10
  {{- end }}
  revisionHistoryLimit: 3
  strategy:
    type: RollingUpdate
    rollingUpdate: { maxUnavailable: 0, maxSurge: 1 }
  selector:
    matchLabels:
      {{- include "common.selectorLabels" (dict "root" .) | nindent 6 }}
  template:
    metadata:
      labels:
        {{- include "common.podLabels" (dict "root" .) | nindent 8 }}
        {{- with include "common.extraMetadata" (dict "root" . "part" "pods" "field" "labels") }}
        {{- trim . | nindent 8 }}
        {{- end }}
      {{- $annotations := deepCopy (.Values.podAnnotations | default dict) }}
      {{- with include "common.plainStores" . }}
      {{- $_ := set $annotations "platform.ecommerce.dev/plain-stores" . }}
      {{- end }}
      {{- with include "common.podAnnotations" (dict "root" . "own" $annotations) }}
      {{- trim . | nindent 6 }}
      {{- end }}
    spec:
      {{- include "common.podSecurity" (dict "root" . "uid" 10001) | trim | nindent 6 }}
      {{- with include "common.podScheduling" . }}
      {{- trim . | nindent 6 }}
      {{- end }}
      {{- include "common.topologySpread" . | nindent 6 }}
      terminationGracePeriodSeconds: 40
      containers:
        - name: {{ include "common.component" . }}
          {{- include "common.containerImage" . | nindent 10 }}
          args: [serve]
          env:
            {{- include "common.env" (dict "root" . "extra" .Values.env) | trim | nindent 12 }}
          ports:
            {{- include "common.containerPorts" .Values.ports | trim | nindent 12 }}
          {{- include "common.serviceProbes" . | nindent 10 }}
          resources:
            {{- toYaml .Values.resources | nindent 12 }}
          {{- include "common.containerSecurity" . | nindent 10 }}
          volumeMounts:
            - { name: tmp, mountPath: /tmp }
      volumes:
        - { name: tmp, emptyDir: { sizeLimit: 64Mi } }
{{- end -}}

{{/*
`/ready` checks the database, `/health` does not: a pod that cannot reach its database gets no traffic but is not
restarted.
*/}}
{{- define "common.serviceProbes" -}}
startupProbe:
  httpGet: { path: /health, port: http }
  periodSeconds: 1
  timeoutSeconds: 3
  failureThreshold: 120
livenessProbe:
  httpGet: { path: /health, port: http }
  periodSeconds: 10
  timeoutSeconds: 5
  failureThreshold: 6
readinessProbe:
  httpGet: { path: /ready, port: http }
  periodSeconds: 5
  timeoutSeconds: 3
  failureThreshold: {{ (.Values.global).readinessFailures | default 2 }}
{{- end -}}

{{/*
The environment of a service: the addresses of its ports, neighbours, routes and external services and its settings,
which `extra` overrides; secrets are read from Secrets. Takes root and extra.
*/}}
{{- define "common.env" -}}
{{- $platform := include "common.platform" .root -}}
{{- $credentials := include "common.credentials" .root | fromYaml -}}
{{- $env := dict
  "TENANT" $platform
  "SERVICE_VERSION" (include "common.version" .root)
  "LOG_LEVEL" ((.root.Values.global).logLevel | default "INFO")
-}}
{{- range $name, $port := .root.Values.ports -}}
{{- $_ := set $env (printf "%s_PORT" (upper $name)) $port -}}
{{- end -}}
{{- range $name, $port := .root.Values.neighbours -}}
{{- $_ := set $env (printf "%s_GRPC" (upper $name)) (printf "%s-%s-grpc:%v" $platform $name $port) -}}
{{- end -}}
{{- range $name, $port := .root.Values.routes -}}
{{- $_ := set $env (printf "%s_URL" (upper $name)) (printf "http://%s-%s:%v" $platform $name $port) -}}
{{- end -}}
{{- $external := include "common.externalSettings" .root | fromYaml -}}
{{- /* Pods have addresses from private ranges, and only those of proxyNamespaces can connect: docs/adr/0023. */ -}}
{{- if and .root.Values.proxyNamespaces .root.Values.global.networkPolicies.enabled -}}
{{- $_ := set $env "TRUSTED_PROXIES" "10.0.0.0/8,172.16.0.0/12,192.168.0.0/16,100.64.0.0/10,fc00::/7" -}}
{{- end -}}
{{- $settings := include "common.settings" .root | fromYaml -}}
{{- $env = mergeOverwrite $env $external $settings (deepCopy .extra) -}}
{{- range $kind, $credential := $credentials }}
{{- range concat $credential.keys ($credential.optionalKeys | default list) }}
{{- if hasKey $env . }}
{{- fail (printf "env.%s of %s is read from a Secret: set %s.existingSecret instead" . $.root.Chart.Name $kind) }}
{{- end }}
{{- end }}
{{- end }}
{{- range $name, $value := $env }}
- name: {{ $name | quote }}
  value: {{ $value | toString | quote }}
{{- end }}
{{- range $kind, $credential := $credentials }}
{{- range $credential.keys }}
- name: {{ . }}
  valueFrom: { secretKeyRef: { name: {{ $credential.secret | quote }}, key: {{ . }} } }
{{- end }}
{{- range $credential.optionalKeys }}
- name: {{ . }}
  valueFrom: { secretKeyRef: { name: {{ $credential.secret | quote }}, key: {{ . }}, optional: true } }
{{- end }}
{{- end }}
{{- end -}}

{{/*
`settings` of the values as environment variables: orderTtlSeconds becomes ORDER_TTL_SECONDS. Lists are joined with
commas, maps are written as JSON. `global.settings` has those that are the same in every service.
*/}}
{{- define "common.settings" -}}
{{- range $name, $value := merge (dict) (.Values.settings | default dict) ((.Values.global).settings | default dict) }}
{{- if kindIs "slice" $value }}{{ $value = join "," $value }}{{ end }}
{{- if kindIs "map" $value }}{{ $value = toJson $value }}{{ end }}
{{- if kindIs "float64" $value }}{{ if eq (floor $value) $value }}{{ $value = int64 $value }}{{ end }}{{ end }}
{{ snakecase $name | upper }}: {{ $value | toString | quote }}
{{- end }}
{{- end -}}

{{- define "common.hpa" -}}
apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata:
  {{- include "common.metadata" (dict "root" . "wave" 4) | nindent 2 }}
spec:
  scaleTargetRef:
    apiVersion: apps/v1
    kind: Deployment
    name: {{ include "common.fullname" . }}
  {{- with .Values.autoscaling }}
  {{- if lt (int .max) (int .min) }}
  {{- fail (printf "%s: autoscaling.max (%v) is less than autoscaling.min (%v)" $.Chart.Name .max .min) }}
  {{- end }}
  minReplicas: {{ .min }}
  maxReplicas: {{ .max }}
  {{- /* A pod that starts costs processor time before it relieves others: small steps, for load that stays. */}}
  behavior:
    scaleUp:
      stabilizationWindowSeconds: 60
      policies: [{ type: Percent, value: 50, periodSeconds: 60 }]
    scaleDown:
      stabilizationWindowSeconds: 300
      policies: [{ type: Pods, value: 1, periodSeconds: 60 }]
  metrics:
    - type: Resource
      resource:
        name: cpu
        target: { type: Utilization, averageUtilization: {{ .targetCPUUtilization }} }
  {{- end }}
{{- end -}}
