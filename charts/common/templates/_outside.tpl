{{/*
What payment and notification are told in the open of those outside: a payment provider, a mail server, a provider of text
messages. A map of environment variables.
*/}}
{{- define "common.outsideSettings" -}}
{{- with .Values.stripe }}
PAYMENT_PROVIDER: {{ $.Values.provider }}
{{- end }}
{{- with .Values.shop }}
SHOP_NAME: {{ .name | default (include "common.platform" $) | quote }}
SHOP_URL: {{ .url | default (printf "http://%s-gateway.%s.svc:8080" (include "common.platform" $) $.Release.Namespace) }}
{{- end }}
{{- with .Values.smtp }}
{{- if .host }}
{{- if not .from }}
{{- fail (printf "%s is empty: set it to the address that the shop's mails come from" (include "common.path" (dict "root" $ "path" "smtp.from"))) }}
{{- end }}
SMTP_HOST: {{ .host | quote }}
SMTP_PORT: {{ .port | toString | quote }}
SMTP_FROM: {{ .from | quote }}
SMTP_STARTTLS: {{ .startTls | toString | quote }}
{{- end }}
{{- end }}
{{- with .Values.sms }}
SMS_PROVIDER: {{ .provider }}
{{- if and (eq .provider "twilio") (hasPrefix "https://" $.Values.shop.url) }}
TWILIO_STATUS_CALLBACK: {{ trimSuffix "/" $.Values.shop.url }}/api/v1/webhooks/twilio
{{- end }}
{{- end }}
{{- end -}}

{{/* Their secrets, like those of `common.credentials`. */}}
{{- define "common.outsideCredentials" -}}
{{- $fullname := include "common.fullname" . -}}
{{- with .Values.stripe }}
{{- if eq $.Values.provider "stripe" }}
stripe:
  {{- include "common.credential" (dict "root" $ "path" "stripe" "from" . "field" "secretKey" "also" (list "webhookSecret") "source" "Stripe's dashboard has both under Developers" "own" (printf "%s-stripe" $fullname) "make" (dict "STRIPE_SECRET_KEY" .secretKey "STRIPE_WEBHOOK_SECRET" .webhookSecret)) | nindent 2 }}
{{- end }}
{{- end }}
{{- with .Values.smtp }}
{{- if or .existingSecret .password }}
{{- if not .startTls }}
{{- fail (printf "%s is false, and the password would go over the wire in the clear: set it to true, or configure no login" (include "common.path" (dict "root" $ "path" "smtp.startTls"))) }}
{{- end }}
smtp:
  {{- include "common.credential" (dict "root" $ "path" "smtp" "from" . "field" "password" "also" (list "user") "source" "who runs the mail server knows it" "own" (printf "%s-smtp" $fullname) "make" (dict "SMTP_USER" .user "SMTP_PASSWORD" .password)) | nindent 2 }}
{{- end }}
{{- end }}
{{- with .Values.sms }}
{{- if eq .provider "twilio" }}
sms:
  {{- include "common.credential" (dict "root" $ "path" "sms" "from" . "field" "authToken" "also" (list "accountSid" "from") "source" "Twilio's console has them" "own" (printf "%s-sms" $fullname) "make" (dict "TWILIO_ACCOUNT_SID" .accountSid "TWILIO_AUTH_TOKEN" .authToken "TWILIO_FROM" .from)) | nindent 2 }}
{{- end }}
{{- end }}
{{- end -}}

{{/* The ports of those outside, and of the collector of traces, as a list. Who has none goes nowhere but to the platform's own. */}}
{{- define "common.outsidePorts" -}}
{{- with .Values.stripe }}
{{- if eq $.Values.provider "stripe" }}
- {{ include "common.urlPort" (dict "url" (get $.Values.env "STRIPE_API_BASE") "default" 443) }}
{{- end }}
{{- end }}
{{- with .Values.smtp }}
{{- if .host }}
- {{ .port }}
{{- end }}
{{- end }}
{{- with .Values.sms }}
{{- if eq .provider "twilio" }}
- {{ include "common.urlPort" (dict "url" (get $.Values.env "TWILIO_API_BASE") "default" 443) }}
{{- end }}
{{- end }}
{{- with get .Values.env "OTEL_EXPORTER_OTLP_ENDPOINT" }}
- {{ include "common.urlPort" (dict "url" . "default" (ternary 443 80 (hasPrefix "https:" .))) }}
{{- end }}
{{- end -}}

{{/* A URL's port. Takes url and default. */}}
{{- define "common.urlPort" -}}
{{- regexFind ":[0-9]+$" (urlParse (.url | default "")).host | trimPrefix ":" | default .default -}}
{{- end -}}
