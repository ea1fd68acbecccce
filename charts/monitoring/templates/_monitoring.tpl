{{/* The rules, as their files in a ConfigMap, with where runbooks are. */}}
{{- define "monitoring.files" -}}
prometheus.yml: |
  {{- include "monitoring.config" . | nindent 2 }}
{{- range $path, $_ := .Files.Glob "files/*.yaml" }}
{{ base $path }}: |
  {{- include "monitoring.rules" (dict "root" $ "path" $path) | nindent 2 }}
{{- end }}
{{- end -}}

{{- define "monitoring.rules" -}}
{{- .root.Files.Get .path | replace "runbook_url: docs/" (printf "runbook_url: %sdocs/" .root.Values.runbooks) | trim -}}
{{- end -}}

{{/* Labels as the ServiceMonitors have them. The broker tells the length of each queue only when asked. */}}
{{- define "monitoring.config" -}}
{{- $platform := include "common.platform" . -}}
global:
  scrape_interval: {{ .Values.interval }}
  evaluation_interval: {{ .Values.interval }}
storage: { exemplars: { max_exemplars: 10000 } } # in memory
rule_files: [/etc/prometheus/rules/*.yaml]
scrape_configs:
  - job_name: monitoring
    static_configs: [{ targets: ["localhost:{{ .Values.ports.metrics }}"] }]
    relabel_configs:
      {{- include "monitoring.label" (dict "namespace" .Release.Namespace "platform" $platform "component" "monitoring") | trim | nindent 6 }}
  {{- range $component, $port := .Values.targets }}
  - job_name: {{ $component }}
    {{- include "monitoring.pods" (dict "name" (printf "%s-%s-pods.%s.svc" $platform $component $.Release.Namespace) "port" $port) | nindent 4 }}
    relabel_configs:
      {{- include "monitoring.label" (dict "namespace" $.Release.Namespace "platform" $platform "component" $component) | trim | nindent 6 }}
  {{- end }}
  - job_name: queues
    metrics_path: /metrics/detailed
    params: { family: [queue_coarse_metrics] }
    {{- include "monitoring.pods" (dict "name" (printf "%s-rabbitmq-pods.%s.svc" $platform .Release.Namespace) "port" .Values.targets.rabbitmq) | nindent 4 }}
    relabel_configs:
      {{- include "monitoring.label" (dict "namespace" .Release.Namespace "platform" $platform "component" "rabbitmq") | trim | nindent 6 }}
  {{- with .Values.operator }}
  - job_name: operator
    honor_labels: true # what the operator says of a platform bears that platform's labels
    {{- include "monitoring.pods" (dict "name" . "port" 9464) | nindent 4 }}
    relabel_configs:
      {{- include "monitoring.label" (dict "namespace" (splitList "." . | rest | first) "component" "operator") | trim | nindent 6 }}
    metric_relabel_configs: # other shops are others' to see
      - { source_labels: [namespace, platform], regex: "{{ $.Release.Namespace }};{{ $platform }}|[^;]*;", action: keep }
  {{- end }}
{{- end -}}

{{- define "monitoring.pods" -}}
dns_sd_configs: [{ names: [{{ .name }}], type: A, port: {{ .port }}, refresh_interval: 15s }]
{{- end -}}

{{- define "monitoring.label" -}}
{{- range $name, $value := . }}
- { target_label: {{ $name }}, replacement: {{ $value | quote }} }
{{- end }}
{{- end -}}

{{- define "monitoring.container" -}}
args:
  - --config.file=/etc/prometheus/rules/prometheus.yml
  - --storage.tsdb.path=/prometheus
  - --enable-feature=exemplar-storage
  - --storage.tsdb.retention.time={{ .Values.retention.time }}
  - --storage.tsdb.retention.size={{ .Values.retention.size }}
  - --web.listen-address=:{{ .Values.ports.metrics }}
volumeMounts:
  - { name: data, mountPath: /prometheus }
  - { name: config, mountPath: /etc/prometheus/rules, readOnly: true }
{{- end -}}

{{- define "monitoring.volumes" -}}
- name: config
  configMap: { name: {{ include "common.fullname" . }} }
{{- end -}}

{{- define "monitoring.egress" -}}
{{ include "common.dnsEgress" . }}
{{- range $component, $port := .Values.targets }}
{{ include "common.egress" (dict "root" $ "component" $component "port" $port) }}
{{- end }}
{{- if .Values.operator }}
{{ include "common.egress" (dict "root" . "port" 9464) }}
{{- end }}
{{- end -}}

{{/* The pods of a component by name, ready or not: one that is not is what an alert is for. Takes root, component, port. */}}
{{- define "monitoring.podsService" -}}
apiVersion: v1
kind: Service
metadata:
  {{- include "common.metadata" (dict "root" .root "name" (printf "%s-%s-pods" (include "common.platform" .root) .component) "component" (printf "%s-pods" .component) "wave" 0) | nindent 2 }}
spec:
  type: ClusterIP
  clusterIP: None
  publishNotReadyAddresses: true
  selector:
    {{- include "common.selectorLabels" (dict "root" .root "component" .component) | nindent 4 }}
  ports:
    - { name: metrics, port: {{ .port }}, targetPort: {{ .port }}, protocol: TCP, appProtocol: http }
{{- end -}}

{{/*
The rules narrowed to one namespace: in a Prometheus that all shops share, each has its own. Those on the operator itself, whose
series are of another namespace, are charts/operator's.
*/}}
{{- define "monitoring.prometheusRule" -}}
{{- $own := printf "${1}{namespace=%q," .Release.Namespace -}}
apiVersion: monitoring.coreos.com/v1
kind: PrometheusRule
metadata:
  {{- include "common.metadata" (dict "root" . "wave" 5) | nindent 2 }}
spec:
  groups:
    {{- range $path, $_ := .Files.Glob "files/*.yaml" }}
    {{- if ne (base $path) "operator.yaml" }}
    {{- range (include "monitoring.rules" (dict "root" $ "path" $path) | fromYaml).groups }}
    {{- range .rules }}
    {{- $_ := set . "expr" (regexReplaceAll "([a-zA-Z0-9_:])\\{" .expr $own) }}
    {{- end }}
    - {{- toYaml . | nindent 6 }}
    {{- end }}
    {{- end }}
    {{- end }}
{{- end -}}
