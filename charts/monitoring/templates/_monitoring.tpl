{{/* The content of the ConfigMap: the configuration of Prometheus and its rule files. */}}
{{- define "monitoring.files" -}}
prometheus.yml: |
  {{- include "monitoring.config" . | nindent 2 }}
{{- range $path, $_ := .Files.Glob "files/*.yaml" }}
{{ base $path }}: |
  {{- include "monitoring.rules" (dict "root" $ "path" $path) | nindent 2 }}
{{- end }}
{{- end -}}

{{/* A rule file whose runbook URLs begin with the value `runbooks`. Takes root and path. */}}
{{- define "monitoring.rules" -}}
{{- $url := printf "runbook_url: %sdocs/" .root.Values.runbooks -}}
{{- .root.Files.Get .path | replace "runbook_url: docs/" $url | trim -}}
{{- end -}}

{{/*
The configuration of Prometheus. Series get the same labels as through the ServiceMonitors. RabbitMQ returns the length
of each queue only on request.
*/}}
{{- define "monitoring.config" -}}
{{- $platform := include "common.platform" . -}}
{{- $labels := dict "namespace" .Release.Namespace "platform" $platform -}}
global:
  scrape_interval: {{ .Values.interval }}
  evaluation_interval: {{ .Values.interval }}
storage: { exemplars: { max_exemplars: 10000 } } # in memory
rule_files: [/etc/prometheus/rules/*.yaml]
scrape_configs:
  - job_name: monitoring
    static_configs: [{ targets: ["localhost:{{ .Values.ports.metrics }}"] }]
    relabel_configs:
      {{- include "monitoring.relabelings" (merge (dict "component" "monitoring") $labels) | trim | nindent 6 }}
  {{- range $component, $port := .Values.targets }}
  {{- $name := printf "%s-%s-pods.%s.svc" $platform $component $.Release.Namespace }}
  - job_name: {{ $component }}
    {{- include "monitoring.discovery" (dict "name" $name "port" $port) | nindent 4 }}
    relabel_configs:
      {{- include "monitoring.relabelings" (merge (dict "component" $component) $labels) | trim | nindent 6 }}
  {{- end }}
  {{- $rabbitmq := printf "%s-rabbitmq-pods.%s.svc" $platform .Release.Namespace }}
  - job_name: queues
    metrics_path: /metrics/detailed
    params: { family: [queue_coarse_metrics] }
    {{- include "monitoring.discovery" (dict "name" $rabbitmq "port" .Values.targets.rabbitmq) | nindent 4 }}
    relabel_configs:
      {{- include "monitoring.relabelings" (merge (dict "component" "rabbitmq") $labels) | trim | nindent 6 }}
  {{- with .Values.operator }}
  - job_name: operator
    honor_labels: true # the operator's series about a platform have the labels of that platform
    {{- include "monitoring.discovery" (dict "name" . "port" 9464) | nindent 4 }}
    relabel_configs:
      {{- $operatorLabels := dict "namespace" (splitList "." . | rest | first) "component" "operator" }}
      {{- include "monitoring.relabelings" $operatorLabels | trim | nindent 6 }}
    {{- $own := printf "%s;%s" $.Release.Namespace $platform }}
    metric_relabel_configs: # keep only series about this shop and about the operator itself
      - { source_labels: [namespace, platform], regex: "{{ $own }}|[^;]*;", action: keep }
  {{- end }}
{{- end -}}

{{/* Discovers the pods behind a DNS name. Takes name and port. */}}
{{- define "monitoring.discovery" -}}
dns_sd_configs: [{ names: [{{ .name }}], type: A, port: {{ .port }}, refresh_interval: 15s }]
{{- end -}}

{{/* Sets labels on all series of a job. Takes a map of names to values. */}}
{{- define "monitoring.relabelings" -}}
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

{{/*
A headless Service through which Prometheus finds the pods of a component. It includes pods that are not ready, since
alerts are about those. Takes root, component and port.
*/}}
{{- define "monitoring.discoveryService" -}}
apiVersion: v1
kind: Service
metadata:
  {{- $name := printf "%s-%s-pods" (include "common.platform" .root) .component }}
  {{- $component := printf "%s-pods" .component }}
  {{- include "common.metadata" (dict "root" .root "name" $name "component" $component "wave" 0) | nindent 2 }}
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
A PrometheusRule with the rules narrowed to the namespace of the shop, because shops that share a Prometheus have a rule
set each. The rules about the operator, whose series belong to another namespace, are in charts/operator.
*/}}
{{- define "monitoring.prometheusRule" -}}
{{- $selector := printf "${1}{namespace=%q," .Release.Namespace -}}
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
    {{- $_ := set . "expr" (regexReplaceAll "([a-zA-Z0-9_:])\\{" .expr $selector) }}
    {{- end }}
    - {{- toYaml . | nindent 6 }}
    {{- end }}
    {{- end }}
    {{- end }}
{{- end -}}
