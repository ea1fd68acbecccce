{{/*
The metadata of every object. Takes root; name, component and chart, where they differ from the chart's own; and wave,
the step of a rollout in which the operator applies the object: 0 policies, secrets and Services, 1 stores, 2
migrations, 3 services, 4 what brings traffic, 5 monitoring.
*/}}
{{- define "common.metadata" -}}
name: {{ .name | default (include "common.fullname" .root) }}
namespace: {{ .root.Release.Namespace | quote }}
labels:
  {{- include "common.podLabels" . | nindent 2 }}
  app.kubernetes.io/managed-by: {{ (.root.Values.global).managedBy | default .root.Release.Service | quote }}
  {{- with include "common.extraMetadata" (dict "root" .root "part" "objects" "field" "labels") }}
  {{- trim . | nindent 2 }}
  {{- end }}
annotations:
  platform.ecommerce.dev/wave: {{ .wave | quote }}
  {{- with include "common.extraMetadata" (dict "root" .root "part" "objects" "field" "annotations") }}
  {{- trim . | nindent 2 }}
  {{- end }}
{{- end -}}

{{/*
The labels or annotations that the values add to every object or every pod. Refuses those by which objects find each
other, and those that the operator and kubectl set. Takes root; part: objects or pods; field: labels or annotations.
*/}}
{{- define "common.extraMetadata" -}}
{{- $reserved := dict
  "labels" "^(([^/]+[.])?(kubernetes|k8s)[.]io|platform[.]ecommerce[.]dev)/|-hash$|^controller-uid$|^job-name$"
  "annotations" "^(platform[.]ecommerce[.]dev|kubectl[.]kubernetes[.]io)/"
-}}
{{- range $name, $value := get (get (.root.Values.global | default dict) .part | default dict) .field | default dict }}
{{- if regexMatch (get $reserved $.field) $name }}
{{- $format := "global.%s.%s: %s is set by the platform or by Kubernetes: use a name of your own" }}
{{- fail (printf $format $.part $.field $name) }}
{{- end }}
{{ $name | quote }}: {{ $value | quote }}
{{- end }}
{{- end -}}

{{/* The labels of a pod. Its manager is not among them, so that pods keep running when another manager takes over. */}}
{{- define "common.podLabels" -}}
{{- include "common.stableLabels" . }}
app.kubernetes.io/version: {{ include "common.version" .root | quote }}
{{- end -}}

{{/* The labels that never change. A volume claim template, which is immutable, may have only these. */}}
{{- define "common.stableLabels" -}}
app.kubernetes.io/name: {{ .chart | default (include "common.chartName" .root) }}
{{ include "common.selectorLabels" . }}
app.kubernetes.io/part-of: ecommerce
{{- end -}}

{{- define "common.selectorLabels" -}}
app.kubernetes.io/instance: {{ include "common.platform" .root | quote }}
app.kubernetes.io/component: {{ .component | default (include "common.component" .root) }}
{{- end -}}

{{/* The tag of the image as a label value; the appVersion of the chart for an image that has only a digest. */}}
{{- define "common.version" -}}
{{- $file := include "common.image" . | splitList "@" | first | splitList "/" | last -}}
{{- $tag := ternary (splitList ":" $file | last) .Chart.AppVersion (contains ":" $file) -}}
{{- regexReplaceAll "[^A-Za-z0-9._-]" $tag "_" | trunc 63 | trimAll "._-" -}}
{{- end -}}

{{/*
The reference of the image. A service has `image` of its values if that is set, else one built from global.image; a
store has `image` after global.storeRegistry.
*/}}
{{- define "common.image" -}}
{{- $global := .Values.global | default dict -}}
{{- $image := $global.image | default dict -}}
{{- $tag := $image.tag | default .Chart.AppVersion -}}
{{- if eq .Chart.Name "platform" -}}
ecommerce/platform:{{ $tag }}
{{- else if include "common.isStore" . -}}
{{ $global.storeRegistry }}{{ .Values.image }}
{{- else if .Values.image -}}
{{ .Values.image }}
{{- else -}}
{{ with $image.registry }}{{ . }}/{{ end }}ecommerce/{{ include "common.chartName" . }}:{{ $tag }}
{{- end -}}
{{- end -}}

{{- define "common.isStore" -}}
{{- if hasKey .Values "clients" }}yes{{ end -}}
{{- end -}}
