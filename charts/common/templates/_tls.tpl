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

{{/*
The Secret with the certificate of a store, which the authority of the values signs. The Secret that the cluster has is
kept as long as it is of the same authority, so that an upgrade does not replace it.
*/}}
{{- define "common.certificateSecret" -}}
{{- $tls := (.Values.global).tls | default dict -}}
{{- $store := include "common.component" . -}}
{{- if not (and $tls.caCertificate $tls.caKey) -}}
{{- $rule := "set global.tls.caCertificate and global.tls.caKey, as charts/secrets prints them" -}}
{{- fail (printf "%s has no certificate: %s, or list %s in global.tls.plainStores" $store $rule $store) -}}
{{- end -}}
{{- $name := include "common.certificateSecretName" . -}}
{{- $stored := (lookup "v1" "Secret" .Release.Namespace $name).data | default dict -}}
{{- $content := dict "ca.crt" $tls.caCertificate -}}
{{- if eq (get $stored "ca.crt") (b64enc $tls.caCertificate) -}}
{{- $_ := set $content "tls.crt" (get $stored "tls.crt" | b64dec) -}}
{{- $_ := set $content "tls.key" (get $stored "tls.key" | b64dec) -}}
{{- else -}}
{{- $authority := buildCustomCert (b64enc $tls.caCertificate) (b64enc $tls.caKey) -}}
{{- $host := include "common.fullname" . -}}
{{- $local := printf "%s.%s" $host .Release.Namespace -}}
{{- $names := list $host $local (printf "%s.svc" $local) (printf "%s.svc.cluster.local" $local) "localhost" -}}
{{- $certificate := genSignedCertWithKey $host nil $names 3650 $authority (genPrivateKey "ecdsa") -}}
{{- $_ := set $content "tls.crt" $certificate.Cert -}}
{{- $_ := set $content "tls.key" $certificate.Key -}}
{{- end -}}
{{ include "common.secret" (dict "root" . "name" $name "content" $content) }}
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
A part of a shell script: runs a command in the background once the certificate is a new one, and again after a minute
if it fails, so that a renewal restarts no store. Takes the command.
*/}}
{{- define "common.onNewCertificate" -}}
(
  used=$(cksum </tls/tls.crt)
  while sleep 60; do
    new=$(cksum </tls/tls.crt) || continue
    if [ "$new" != "$used" ] && {{ . }} >/dev/null; then used=$new; fi
  done
) &
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
