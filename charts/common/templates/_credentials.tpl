{{/*
What a service must be told in secret, as a map: for each of database, cache, broker, jwt and admin that its values have,
and for each of stripe, smtp and sms that it uses,
  secret: the Secret's name        keys: the keys in it, which are also the environment variables' names
  make:   the Secret's content, where this chart makes it
  store:  the component that the Secret leads to, and its port; component empty: somewhere outside the platform
*/}}
{{- define "common.credentials" -}}
{{- $platform := include "common.platform" . -}}
{{- $fullname := include "common.fullname" . -}}
{{- $values := .Values -}}
{{- with $values.database }}
database:
  {{- $name := printf "%s-db" $fullname }}
  {{- $make := dict "DB_HOST" (.host | default $name) "DB_PORT" (.port | toString) "DB_USER" .user "DB_PASSWORD" .password "DB_NAME" .name }}
  {{- include "common.credential" (dict "root" $ "path" "database" "from" . "field" "password" "least" 16 "own" $name "store" $name "make" $make) | nindent 2 }}
  {{- include "common.credentialStore" (dict "root" $ "from" . "store" $name "component" (printf "%s-db" (include "common.component" $))) | nindent 2 }}
{{- end }}
{{- with $values.cache }}
cache:
  {{- $store := printf "%s-redis" $platform }}
  {{- include "common.credential" (dict "root" $ "path" "cache" "from" . "field" "url" "own" (printf "%s-cache" $fullname) "store" $store "make" (dict "REDIS_URL" .url)) | nindent 2 }}
  {{- include "common.credentialStore" (dict "root" $ "from" . "store" $store "component" "redis") | nindent 2 }}
{{- end }}
{{- with $values.broker }}
broker:
  {{- $store := printf "%s-rabbitmq" $platform }}
  {{- include "common.credential" (dict "root" $ "path" "broker" "from" . "field" "url" "own" (printf "%s-broker" $fullname) "store" $store "make" (dict "RABBITMQ_URL" .url)) | nindent 2 }}
  {{- include "common.credentialStore" (dict "root" $ "from" . "store" $store "component" "rabbitmq") | nindent 2 }}
{{- end }}
{{- with $values.jwt }}
jwt:
  {{- include "common.credential" (dict "root" $ "path" "jwt" "from" . "field" "secret" "least" 32 "own" (printf "%s-jwt" $platform) "make" (dict "JWT_SECRET" .secret)) | nindent 2 }}
{{- end }}
{{- with $values.admin }}
admin:
  {{- include "common.credential" (dict "root" $ "path" "admin" "from" . "field" "password" "least" 12 "own" (printf "%s-admin" $platform) "make" (dict "ADMIN_EMAIL" .email "ADMIN_PASSWORD" .password)) | nindent 2 }}
{{- end }}
{{- with include "common.outsideCredentials" . }}
{{ . }}
{{- end }}
{{- end -}}

{{/*
One secret: the existing one, the one that this chart makes from a value, or the one that the store of the same platform
makes; a chart that stands alone has no such store and must be told. Takes root, path (of the values), from (the values),
field (the one that is secret), least (its shortest length), also (fields that come with it), source (where to get them), own
(the name of what this chart makes), store (of what the store makes), make (the content).
*/}}
{{- define "common.credential" -}}
{{- $component := include "common.component" .root -}}
{{- $given := get .from .field -}}
{{- $path := include "common.path" . -}}
{{- $source := .source | default "charts/secrets prints random ones" -}}
{{- $existing := printf "%s.existingSecret" $path | trimPrefix "." -}}
{{- $field := printf "%s.%s" $path .field | trimPrefix "." -}}
{{- if and .from.existingSecret $given -}}
{{- fail (printf "%s and %s are both set: leave one of them empty" $existing $field) -}}
{{- else if .from.existingSecret -}}
secret: {{ .from.existingSecret | quote }}
{{- else if $given -}}
{{- if lt (len $given) (.least | default 1) -}}
{{- fail (printf "%s is too short: it needs %d characters or more; %s" $field .least $source) -}}
{{- end -}}
{{- range .also -}}
{{- if not (get $.from .) -}}
{{- fail (printf "%s is set but %s is empty: set it too; %s" $field (printf "%s.%s" $path .) $source) -}}
{{- end -}}
{{- end -}}
secret: {{ .own }}
make: {{ toJson .make }}
{{- else if and .store (not .root.Chart.IsRoot) -}}
secret: {{ .store }}
{{- else -}}
{{- fail (printf "%s has no secret: set %s to the name of a Secret with the keys %s, or %s to a value; %s" ($path | default $component) $existing (keys .make | sortAlpha | join ", ") $field $source) -}}
{{- end }}
keys: {{ keys .make | sortAlpha | toJson }}
{{- end -}}

{{/* Where a value is set: after the component, unless the chart is installed alone. Takes root and path. */}}
{{- define "common.path" -}}
{{- ternary .path (printf "%s.%s" (include "common.component" .root) .path) .root.Chart.IsRoot | trimSuffix "." -}}
{{- end -}}

{{/* Where a store's Secret leads. A Secret of another name than our own store's may lead anywhere. */}}
{{- define "common.credentialStore" -}}
{{- $ours := and (not .from.host) (not .from.url) (eq (.from.existingSecret | default .store) .store) -}}
store: { component: {{ ternary .component "" $ours | quote }}, port: {{ .from.port }} }
{{- end -}}

{{/* The Secrets that this chart makes. */}}
{{- define "common.secrets" -}}
{{- range $kind, $credential := include "common.credentials" . | fromYaml }}
{{- with $credential.make }}
---
{{ include "common.secret" (dict "root" $ "name" $credential.secret "make" .) }}
{{- end }}
{{- end }}
{{- end -}}

{{- define "common.secret" -}}
apiVersion: v1
kind: Secret
metadata:
  {{- include "common.metadata" (dict "root" .root "name" .name "wave" 0) | nindent 2 }}
type: Opaque
data:
  {{- range $key, $value := .make }}
  {{ $key }}: {{ $value | b64enc }}
  {{- end }}
{{- end -}}

{{/* Refuses a value that a URL would have to escape: not every client unescapes it alike. Takes root and field. */}}
{{- define "common.urlSafe" -}}
{{- if not (regexMatch "^[A-Za-z0-9._~-]*$" (get .root.Values .field)) -}}
{{- fail (printf "%s.%s goes into a URL: use only A-Z a-z 0-9 . _ ~ -" (include "common.component" .root) .field) -}}
{{- end -}}
{{- end -}}
