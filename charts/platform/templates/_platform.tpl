{{/* The metadata of objects that route to the gateway: they belong to its component. */}}
{{- define "platform.gatewayMetadata" -}}
name: {{ include "common.platform" . }}-gateway
component: gateway
chart: gateway
{{- end -}}

{{/*
Checks across charts: each service and its store must use the same Secret, and a service whose store is disabled must
name the Secret of another one. With a broker user of its own, a service uses the Secret <release>-<service>-broker. The
services must agree on the payment provider, since orders are refused by its rules.
*/}}
{{- define "platform.validate" -}}
{{- $values := .Values -}}
{{- $platform := include "common.platform" . -}}
{{- if and (or .Values.ingress.enabled .Values.gatewayApi.enabled) (not .Values.gateway.enabled) -}}
{{- fail "ingress and gatewayApi route to the gateway, which is disabled: set gateway.enabled to true" -}}
{{- end -}}
{{- $provider := (.Values.global.settings).paymentProvider | default "simulated" -}}
{{- if ne $provider .Values.payment.provider -}}
{{- $format := "payment.provider is %q, but global.settings.paymentProvider is %q: set both to the same provider" -}}
{{- fail (printf $format .Values.payment.provider $provider) -}}
{{- end -}}
{{- range $component, $settings := $values -}}
{{- if and (kindIs "map" $settings) (hasKey $settings "neighbours") $settings.enabled -}}
{{- range $kind, $storeName := dict "database" (printf "%s-db" $component) "cache" "redis" "broker" "rabbitmq" -}}
{{- with get $settings $kind -}}
{{- $arguments := dict
  "platform" $platform
  "path" (printf "%s.%s" $component $kind)
  "credential" .
  "storeName" $storeName
  "store" (get $values $storeName)
  "ownSecret" (eq $kind "broker" | ternary (printf "%s-%s-broker" $platform $component) "")
-}}
{{- include "platform.validateStore" $arguments -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/*
Takes platform, the name of the release; path and credential, the values with which a service names the Secret of its
store; storeName and store, the name and the values of that store; ownSecret, the Secret that only this service uses.
*/}}
{{- define "platform.validateStore" -}}
{{- $default := printf "%s-%s" .platform .storeName -}}
{{- $given := .credential.password | default .credential.url -}}
{{- $serviceSecret := .credential.existingSecret | default "" -}}
{{- $storeSecret := .store.existingSecret | default "" -}}
{{- if not .store.enabled -}}
{{- if not (or $serviceSecret $given) -}}
{{- fail (printf "%s is disabled: set %s.existingSecret to the Secret of the store to use instead" .storeName .path) -}}
{{- end -}}
{{- else if $given -}}
{{- $field := printf "%s.%s" .path (ternary "password" "url" (not (empty .credential.password))) -}}
{{- $advice := printf "set %s.enabled to false, or leave %s empty" .storeName $field -}}
{{- fail (printf "%s names another store than %s, which is enabled: %s" $field .storeName $advice) -}}
{{- else if and .ownSecret (has $serviceSecret (list "" .ownSecret)) -}}
{{- else if ne ($serviceSecret | default $default) ($storeSecret | default $default) -}}
{{- $advice := printf "both must name the same Secret (empty: %s)" $default -}}
{{- $format := "%s.existingSecret is %q but %s.existingSecret is %q: %s" -}}
{{- fail (printf $format .path $serviceSecret .storeName $storeSecret $advice) -}}
{{- end -}}
{{- end -}}
