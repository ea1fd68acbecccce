{{/*
The environment variables, without the secret ones, for external services: the payment provider, the mail server and the
provider of text messages. A map.
*/}}
{{- define "common.externalSettings" -}}
{{- $platform := include "common.platform" . -}}
{{- with .Values.stripe }}
PAYMENT_PROVIDER: {{ $.Values.provider }}
{{- end }}
{{- with .Values.shop }}
SHOP_NAME: {{ .name | default $platform | quote }}
SHOP_URL: {{ .url | default (printf "http://%s-gateway.%s.svc:8080" $platform $.Release.Namespace) }}
{{- end }}
{{- with .Values.smtp }}
{{- if .host }}
{{- if not .from }}
{{- $path := include "common.valuePath" (dict "root" $ "path" "smtp.from") }}
{{- fail (printf "%s is empty: set it to the sender address of the shop's mails" $path) }}
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

{{/* The secrets for external services, as `common.credentials` returns them. */}}
{{- define "common.externalCredentials" -}}
{{- $fullname := include "common.fullname" . -}}
{{- with .Values.stripe }}
{{- if eq $.Values.provider "stripe" }}
{{- $credential := dict
  "root" $
  "path" "stripe"
  "values" .
  "field" "secretKey"
  "required" (list "webhookSecret")
  "source" "Stripe's dashboard shows both under Developers"
  "createdSecret" (printf "%s-stripe" $fullname)
  "content" (dict "STRIPE_SECRET_KEY" .secretKey "STRIPE_WEBHOOK_SECRET" .webhookSecret)
}}
stripe:
  {{- include "common.credential" $credential | nindent 2 }}
{{- end }}
{{- end }}
{{- with .Values.smtp }}
{{- if or .existingSecret .password }}
{{- if not .startTls }}
{{- $path := include "common.valuePath" (dict "root" $ "path" "smtp.startTls") }}
{{- fail (printf "%s is false, and the password would be sent unencrypted: set it to true, or set no login" $path) }}
{{- end }}
{{- $credential := dict
  "root" $
  "path" "smtp"
  "values" .
  "field" "password"
  "required" (list "user")
  "source" "ask the administrator of the mail server"
  "createdSecret" (printf "%s-smtp" $fullname)
  "content" (dict "SMTP_USER" .user "SMTP_PASSWORD" .password)
}}
smtp:
  {{- include "common.credential" $credential | nindent 2 }}
{{- end }}
{{- end }}
{{- with .Values.sms }}
{{- if eq .provider "twilio" }}
{{- $credential := dict
  "root" $
  "path" "sms"
  "values" .
  "field" "authToken"
  "required" (list "accountSid" "from")
  "source" "Twilio's console shows them"
  "createdSecret" (printf "%s-sms" $fullname)
  "content" (dict "TWILIO_ACCOUNT_SID" .accountSid "TWILIO_AUTH_TOKEN" .authToken "TWILIO_FROM" .from)
}}
sms:
  {{- include "common.credential" $credential | nindent 2 }}
{{- end }}
{{- end }}
{{- end -}}

{{/*
The ports of external services and of the trace collector, as a list. A service without any connects only to components
of the platform.
*/}}
{{- define "common.externalPorts" -}}
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

{{/* The port of a URL. Takes url and default. */}}
{{- define "common.urlPort" -}}
{{- regexFind ":[0-9]+$" (urlParse (.url | default "")).host | trimPrefix ":" | default .default -}}
{{- end -}}
