{{/*
The head of every object. Takes root; name, component and chart where they are not the chart's own; wave, the step of a
rollout that the operator applies the object in: 0 policies, secrets and Services, 1 stores, 2 migrations, 3 services,
4 what brings traffic, 5 monitoring.
*/}}
{{- define "common.metadata" -}}
name: {{ .name | default (include "common.fullname" .root) }}
namespace: {{ .root.Release.Namespace | quote }}
labels:
  {{- include "common.podLabels" . | nindent 2 }}
  app.kubernetes.io/managed-by: {{ (.root.Values.global).managedBy | default .root.Release.Service | quote }}
annotations:
  platform.ecommerce.dev/wave: {{ .wave | quote }}
{{- end -}}

{{/* A pod's labels do not say who manages it: the same pod runs on when somebody else takes over. */}}
{{- define "common.podLabels" -}}
{{- include "common.identity" . }}
app.kubernetes.io/version: {{ include "common.version" .root | quote }}
{{- end -}}

{{/* The labels that never change: what a volume claim template may carry. */}}
{{- define "common.identity" -}}
app.kubernetes.io/name: {{ .chart | default (include "common.chart" .root) }}
{{ include "common.selectorLabels" . }}
app.kubernetes.io/part-of: ecommerce
{{- end -}}

{{- define "common.selectorLabels" -}}
app.kubernetes.io/instance: {{ include "common.platform" .root | quote }}
app.kubernetes.io/component: {{ .component | default (include "common.component" .root) }}
{{- end -}}

{{/* The image's tag as a label's value; the chart's appVersion where an image has only a digest. */}}
{{- define "common.version" -}}
{{- $file := include "common.image" . | splitList "@" | first | splitList "/" | last -}}
{{- $tag := ternary (splitList ":" $file | last) .Chart.AppVersion (contains ":" $file) -}}
{{- regexReplaceAll "[^A-Za-z0-9._-]" $tag "_" | trunc 63 | trimAll "._-" -}}
{{- end -}}

{{/* `image` of the values: a service's full reference where it is set, a store's after global.storeRegistry. */}}
{{- define "common.image" -}}
{{- $global := .Values.global | default dict -}}
{{- $image := $global.image | default dict -}}
{{- if eq .Chart.Name "platform" -}}
ecommerce/platform:{{ $image.tag | default .Chart.AppVersion }}
{{- else if include "common.isStore" . -}}
{{ $global.storeRegistry }}{{ .Values.image }}
{{- else if .Values.image -}}
{{ .Values.image }}
{{- else -}}
{{ with $image.registry }}{{ . }}/{{ end }}ecommerce/{{ include "common.chart" . }}:{{ $image.tag | default .Chart.AppVersion }}
{{- end -}}
{{- end -}}

{{- define "common.isStore" -}}
{{- if hasKey .Values "clients" }}yes{{ end -}}
{{- end -}}
