{{/* The platform that an object belongs to: the name of the release, which prefixes every name in it. */}}
{{- define "common.platform" -}}
{{- if not (regexMatch "^[a-z]([-a-z0-9]{0,28}[a-z0-9])?$" .Release.Name) -}}
{{- $rule := "use at most 30 of a-z, 0-9 and -, a letter first" -}}
{{- fail (printf "release name %q gives invalid names of Services and Jobs: %s" .Release.Name $rule) -}}
{{- end -}}
{{- .Release.Name -}}
{{- end -}}

{{/* The component that a chart installs: its alias in the platform chart, or its own name. */}}
{{- define "common.component" -}}
{{- .Chart.Name -}}
{{- end -}}

{{- define "common.fullname" -}}
{{- include "common.platform" . }}-{{ include "common.component" . }}
{{- end -}}

{{/* The name of the chart, which an alias hides: postgres for order-db. */}}
{{- define "common.chartName" -}}
{{- index .Chart.Annotations "platform.ecommerce.dev/chart" | default .Chart.Name -}}
{{- end -}}
