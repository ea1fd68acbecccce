{{/* The platform that an object belongs to: the release's name, and the prefix of every name in it. */}}
{{- define "common.platform" -}}
{{- if not (regexMatch "^[a-z]([-a-z0-9]{0,28}[a-z0-9])?$" .Release.Name) -}}
{{- fail (printf "the release's name %q is no prefix for the names of Services and Jobs: use at most 30 of a-z, 0-9 and -, a letter first" .Release.Name) -}}
{{- end -}}
{{- .Release.Name -}}
{{- end -}}

{{/* The component that a chart installs: its alias in the platform, else its own name. */}}
{{- define "common.component" -}}
{{- .Chart.Name -}}
{{- end -}}

{{- define "common.fullname" -}}
{{- include "common.platform" . }}-{{ include "common.component" . }}
{{- end -}}

{{/* The chart's own name, which its alias hides: postgres for order-db. */}}
{{- define "common.chart" -}}
{{- index .Chart.Annotations "platform.ecommerce.dev/chart" | default .Chart.Name -}}
{{- end -}}
