{{/* What leads to the gateway belongs to it. */}}
{{- define "platform.gateway" -}}
name: {{ include "common.platform" . }}-gateway
component: gateway
chart: gateway
{{- end -}}

{{/*
What no chart can see alone: that each service and the store that it uses speak of the same Secret. A store that is off
leaves its services to be told where another one is.
*/}}
{{- define "platform.validate" -}}
{{- $values := .Values -}}
{{- $platform := include "common.platform" . -}}
{{- if and (or .Values.ingress.enabled .Values.gatewayApi.enabled) (not .Values.gateway.enabled) -}}
{{- fail "ingress and gatewayApi lead to the gateway, which is disabled: set gateway.enabled to true" -}}
{{- end -}}
{{- range $service, $of := $values -}}
{{- if and (kindIs "map" $of) (hasKey $of "neighbours") $of.enabled -}}
{{- range $kind, $store := dict "database" (printf "%s-db" $service) "cache" "redis" "broker" "rabbitmq" -}}
{{- with get $of $kind -}}
{{- include "platform.validateStore" (dict "platform" $platform "path" (printf "%s.%s" $service $kind) "credential" . "storeName" $store "store" (get $values $store)) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "platform.validateStore" -}}
{{- $default := printf "%s-%s" .platform .storeName -}}
{{- $given := .credential.password | default .credential.url -}}
{{- if not .store.enabled -}}
{{- if not (or .credential.existingSecret $given) -}}
{{- fail (printf "%s is disabled: set %s.existingSecret to the Secret of the store to use instead" .storeName .path) -}}
{{- end -}}
{{- else if $given -}}
{{- fail (printf "%s.%s leads past %s: set %s.enabled to false, or leave it empty" .path (ternary "password" "url" (not (empty .credential.password))) .storeName .storeName) -}}
{{- else if ne (.credential.existingSecret | default $default) (.store.existingSecret | default $default) -}}
{{- fail (printf "%s.existingSecret is %q but %s.existingSecret is %q: both must name the same Secret (empty: %s)" .path (.credential.existingSecret | default "") .storeName (.store.existingSecret | default "") $default) -}}
{{- end -}}
{{- end -}}
