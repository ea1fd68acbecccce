{{/*
The secrets that a service reads, as a map: one entry for each of database, cache, broker, jwt and admin that its values
have, for grpc, and for each of stripe, smtp and sms that it uses. An entry has
  secret:  the name of the Secret
  keys:    the keys of the Secret, which are also the names of the environment variables
  optionalKeys: further keys, which the Secret need not have
  content: the content of the Secret, if this chart creates it
  store:   the component that the Secret leads to, and its port; the component is empty for a store outside the platform
*/}}
{{- define "common.credentials" -}}
{{- $platform := include "common.platform" . -}}
{{- $fullname := include "common.fullname" . -}}
{{- with .Values.database }}
{{- $owner := include "common.databaseOwner" $ | fromYaml }}
database:
  secret: {{ include "common.runtimeSecret" $ | default $owner.secret | quote }}
  keys: {{ toJson $owner.keys }}
  optionalKeys: {{ toJson $owner.optionalKeys }}
  {{- $storeSecret := printf "%s-db" $fullname }}
  {{- $component := printf "%s-db" (include "common.component" $) }}
  {{- $store := dict "root" $ "values" . "storeSecret" $storeSecret "component" $component }}
  {{- include "common.credentialStore" $store | nindent 2 }}
{{- end }}
{{- with .Values.cache }}
{{- $credential := dict
  "root" $
  "path" "cache"
  "values" .
  "field" "url"
  "createdSecret" (printf "%s-cache" $fullname)
  "storeSecret" (printf "%s-redis" $platform)
  "content" (dict "REDIS_URL" .url)
  "optional" (dict "REDIS_CA" .ca)
}}
{{- $store := dict "root" $ "values" . "storeSecret" $credential.storeSecret "component" "redis" }}
cache:
  {{- include "common.credential" $credential | nindent 2 }}
  {{- include "common.credentialStore" $store | nindent 2 }}
{{- end }}
{{- with .Values.broker }}
{{- $ownUser := include "common.brokerSecret" (dict "root" $ "service" (include "common.component" $)) }}
{{- $sharedUser := printf "%s-rabbitmq" $platform }}
{{- $credential := dict
  "root" $
  "path" "broker"
  "values" .
  "field" "url"
  "createdSecret" (printf "%s-broker" $fullname)
  "storeSecret" $ownUser
  "content" (dict "RABBITMQ_URL" .url)
  "optional" (dict "RABBITMQ_CA" .ca)
}}
{{- $named := ternary $sharedUser $ownUser (eq .existingSecret $sharedUser) }}
{{- $store := dict "root" $ "values" . "storeSecret" $named "component" "rabbitmq" }}
broker:
  {{- include "common.credential" $credential | nindent 2 }}
  {{- include "common.credentialStore" $store | nindent 2 }}
{{- end }}
{{- with .Values.jwt }}
{{- $credential := dict
  "root" $
  "path" "jwt"
  "values" .
  "field" "secret"
  "minLength" 32
  "createdSecret" (printf "%s-jwt" $platform)
  "content" (dict "JWT_SECRET" .secret)
  "optional" (dict "JWT_SECRET_NEXT" .nextSecret "JWT_SECRET_PREVIOUS" .previousSecret)
}}
jwt:
  {{- include "common.credential" $credential | nindent 2 }}
{{- end }}
{{- with .Values.admin }}
{{- $credential := dict
  "root" $
  "path" "admin"
  "values" .
  "field" "password"
  "minLength" 12
  "createdSecret" (printf "%s-admin" $platform)
  "content" (dict "ADMIN_EMAIL" .email "ADMIN_PASSWORD" .password)
  "optional" (dict "ADMIN_PASSWORD_PREVIOUS" "")
}}
admin:
  {{- include "common.credential" $credential | nindent 2 }}
{{- end }}
{{- with include "common.grpcCredential" . }}
{{ . }}
{{- end }}
{{- with include "common.externalCredentials" . }}
{{ . }}
{{- end }}
{{- end -}}

{{/*
The credential of the role that owns the database of a service, as `common.credentials` returns them. A service without
a runtime role logs in as the owner too.
*/}}
{{- define "common.databaseOwner" -}}
{{- $name := printf "%s-db" (include "common.fullname" .) -}}
{{- with .Values.database -}}
{{- $content := dict
  "DB_HOST" (.host | default $name)
  "DB_PORT" (.port | toString)
  "DB_USER" .user
  "DB_PASSWORD" .password
  "DB_NAME" .name
-}}
{{- $credential := dict
  "root" $
  "path" "database"
  "values" .
  "field" "password"
  "minLength" 16
  "createdSecret" $name
  "storeSecret" $name
  "content" $content
  "optional" (dict "DB_CA" .ca)
-}}
{{- include "common.credential" $credential -}}
{{- end -}}
{{- end -}}

{{/*
The Secret of the runtime role, by which a service logs in to its database: that of the store of the same platform, or
the one that the values name. Empty for a database with one role.
*/}}
{{- define "common.runtimeSecret" -}}
{{- with .Values.database -}}
{{- $usesStore := not (or $.Chart.IsRoot .existingSecret .password) -}}
{{- $ofStore := printf "%s-db-runtime" (include "common.fullname" $) -}}
{{- .runtimeSecret | default (ternary $ofStore "" $usesStore) -}}
{{- end -}}
{{- end -}}

{{/*
One secret: an existing one, or one that this chart creates from a value, or the one that the store of the same platform
creates. A chart that is installed alone has no such store and needs one of the first two. Takes
  root
  path:          the path of the values
  values:        the values
  field:         the field of the values that is secret
  fieldPath:     its path for error messages, where that is not below `path`
  minLength:     the shortest allowed length of that field
  required:      further fields that must be set together with it
  source:        where to get the values, for error messages
  createdSecret: the name of the Secret that this chart creates
  storeSecret:   the name of the Secret that the store creates
  content:       the content of the Secret
  optional:      further content, which is left out where it is empty
*/}}
{{- define "common.credential" -}}
{{- $given := get .values .field -}}
{{- $path := include "common.valuePath" . -}}
{{- $source := .source | default "charts/secrets prints random values" -}}
{{- $existing := printf "%s.existingSecret" $path | trimPrefix "." -}}
{{- $field := .fieldPath | default (printf "%s.%s" $path .field | trimPrefix ".") -}}
{{- $keys := keys .content | sortAlpha -}}
{{- if and .values.existingSecret $given -}}
{{- fail (printf "%s and %s are both set: leave one of them empty" $existing $field) -}}
{{- else if .values.existingSecret -}}
secret: {{ .values.existingSecret | quote }}
{{- else if $given -}}
{{- if lt (len $given) (.minLength | default 1) -}}
{{- fail (printf "%s is too short: it needs %d characters or more; %s" $field .minLength $source) -}}
{{- end -}}
{{- range .required -}}
{{- if not (get $.values .) -}}
{{- fail (printf "%s is set but %s.%s is empty: set it too; %s" $field $path . $source) -}}
{{- end -}}
{{- end -}}
secret: {{ .createdSecret }}
{{- $content := deepCopy .content }}
{{- range $key, $value := .optional }}
{{- if $value }}{{ $_ := set $content $key $value }}{{ end }}
{{- end }}
content: {{ toJson $content }}
{{- else if and .storeSecret (not .root.Chart.IsRoot) -}}
secret: {{ .storeSecret }}
{{- else -}}
{{- $missing := printf "%s has no secret" ($path | default (include "common.component" .root)) -}}
{{- $advice := printf "set %s to the name of a Secret with the keys %s" $existing (join ", " $keys) -}}
{{- fail (printf "%s: %s, or %s to a value; %s" $missing $advice $field $source) -}}
{{- end }}
keys: {{ toJson $keys }}
{{- with .optional }}
optionalKeys: {{ keys . | sortAlpha | toJson }}
{{- end }}
{{- end -}}

{{/* The path of a value: after the component, unless the chart is installed alone. Takes root and path. */}}
{{- define "common.valuePath" -}}
{{- ternary .path (printf "%s.%s" (include "common.component" .root) .path) .root.Chart.IsRoot | trimSuffix "." -}}
{{- end -}}

{{/*
The store that a Secret leads to. A Secret of another name than the platform's own is assumed to lead to a store
outside. Takes root, values, storeSecret and component.
*/}}
{{- define "common.credentialStore" -}}
{{- $hasOwnName := eq (.values.existingSecret | default .storeSecret) .storeSecret -}}
{{- $isOwn := and (not .values.host) (not .values.url) $hasOwnName -}}
store: { component: {{ ternary .component "" $isOwn | quote }}, port: {{ .values.port }} }
{{- end -}}

{{/* The Secrets that this chart creates. */}}
{{- define "common.secrets" -}}
{{- $credentials := include "common.credentials" . | fromYaml }}
{{- if .Values.database }}
{{- $_ := set $credentials "database" (include "common.databaseOwner" . | fromYaml) }}
{{- end }}
{{- range $kind, $credential := $credentials }}
{{- with $credential.content }}
---
{{ include "common.secret" (dict "root" $ "name" $credential.secret "content" .) }}
{{- end }}
{{- end }}
{{- end -}}

{{/* Takes root, name and content. */}}
{{- define "common.secret" -}}
apiVersion: v1
kind: Secret
metadata:
  {{- include "common.metadata" (dict "root" .root "name" .name "wave" 0) | nindent 2 }}
type: Opaque
data:
  {{- range $key, $value := .content }}
  {{ $key }}: {{ $value | b64enc }}
  {{- end }}
{{- end -}}

{{/*
Refuses a value that would have to be escaped in a URL, since clients unescape differently. Takes root and field.
*/}}
{{- define "common.requireUrlSafe" -}}
{{- if not (regexMatch "^[A-Za-z0-9._~-]*$" (get .root.Values .field)) -}}
{{- $path := printf "%s.%s" (include "common.component" .root) .field -}}
{{- fail (printf "%s becomes part of a URL: use only A-Z a-z 0-9 . _ ~ -" $path) -}}
{{- end -}}
{{- end -}}
