{{/*
TLS of the stores. A store has a certificate in the Secret <release>-<store>-tls and refuses connections without TLS.
Its own Secret names the authority for its clients. docs/adr/0042 describes both.
*/}}

{{/* "yes" if a store has TLS, which it does unless global.tls.plainStores lists it. Takes root and component. */}}
{{- define "common.hasTls" -}}
{{- if not (has .component (((.root.Values.global).tls).plainStores | default list)) }}yes{{ end -}}
{{- end -}}

{{- define "common.storeHasTls" -}}
{{- include "common.hasTls" (dict "root" . "component" (include "common.component" .)) -}}
{{- end -}}

{{/* The certificate of the authority that clients verify a store by; empty for a store without TLS. */}}
{{- define "common.storeAuthority" -}}
{{- if include "common.storeHasTls" . }}{{ ((.Values.global).tls).caCertificate }}{{ end -}}
{{- end -}}

{{- define "common.certificateSecretName" -}}
{{- include "common.fullname" . }}-tls
{{- end -}}

{{/* The Secret with the certificate of a store, which is in the values and is valid for this release alone. */}}
{{- define "common.certificateSecret" -}}
{{- $tls := (.Values.global).tls | default dict -}}
{{- $store := include "common.component" . -}}
{{- $print := printf "charts/secrets --release %s" .Release.Name -}}
{{- if not (and $tls.caCertificate .Values.tls.certificate .Values.tls.key) -}}
{{- $fields := include "common.valuePath" (dict "root" . "path" "tls") -}}
{{- $advice := printf "set global.tls and %s as `%s` prints them" $fields $print -}}
{{- fail (printf "%s has no certificate: %s, or list %s in global.tls.plainStores" $store $advice $store) -}}
{{- end -}}
{{- if ne ($tls.release | default .Release.Name) .Release.Name -}}
{{- $format := "the certificates of the values are for release %q: set those that `%s` prints" -}}
{{- fail (printf $format $tls.release $print) -}}
{{- end -}}
{{- $content := dict "ca.crt" $tls.caCertificate "tls.crt" .Values.tls.certificate "tls.key" .Values.tls.key -}}
{{ include "common.secret" (dict "root" . "name" (include "common.certificateSecretName" .) "content" $content) }}
{{- end -}}

{{/*
The certificate as files in /tls. PostgreSQL refuses a key that every user can read: fsGroup lets the group of the store
read it.
*/}}
{{- define "common.certificateVolume" -}}
{{- if include "common.storeHasTls" . }}
- name: tls
  secret: { secretName: {{ include "common.certificateSecretName" . }}, defaultMode: 0440 }
{{- end }}
{{- end -}}

{{- define "common.certificateMount" -}}
{{- if include "common.storeHasTls" . }}
- { name: tls, mountPath: /tls, readOnly: true }
{{- end }}
{{- end -}}

{{/*
The stores of a service that have no TLS, as the annotation of its pods: they restart when a store gets it, and read the
URL and the authority again.
*/}}
{{- define "common.plainStores" -}}
{{- $plain := list -}}
{{- range $kind, $credential := include "common.credentials" . | fromYaml -}}
{{- with ($credential.store).component -}}
{{- if not (include "common.hasTls" (dict "root" $ "component" .)) -}}
{{- $plain = append $plain . -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- join "," $plain -}}
{{- end -}}
