{{/* CloudNativePG reads the owner of the database from keys of its own. */}}
{{- define "postgres.credential" -}}
DB_HOST: {{ include "postgres.host" . }}
DB_PORT: {{ .Values.ports.postgres | quote }}
DB_USER: {{ .Values.username | quote }}
DB_PASSWORD: {{ .Values.password | quote }}
DB_NAME: {{ .Values.database | quote }}
{{- with include "common.storeAuthority" . }}
DB_CA: {{ . | quote }}
{{- end }}
{{- if eq .Values.provider "cnpg" }}
username: {{ .Values.username | quote }}
password: {{ .Values.password | quote }}
{{- end }}
{{- end -}}

{{/* The Service that leads to the database; of a Cluster, to its primary. */}}
{{- define "postgres.host" -}}
{{- include "common.fullname" . }}{{ if eq .Values.provider "cnpg" }}-rw{{ end -}}
{{- end -}}

{{/*
The Secret of the runtime role, which the migration of the service creates. Its password follows from the owner's, which
cannot be computed from it, so a shop of an earlier release gets it without new values. With an existing Secret the
owner's password is unknown here, and this Secret exists too.
*/}}
{{- define "postgres.runtimeSecret" -}}
{{- $role := dict
  "DB_USER" (printf "%s_runtime" .Values.username)
  "DB_PASSWORD" (printf "runtime/%s" .Values.password | sha256sum)
}}
{{- $content := omit (merge $role (include "postgres.credential" . | fromYaml)) "username" "password" }}
{{- $name := printf "%s-runtime" (include "common.fullname" .) }}
{{- include "common.secret" (dict "root" . "name" $name "content" $content) }}
{{- end -}}

{{/*
With TLS, local connections of the pod stay as they are, and all others need TLS and a password: this replaces the
pg_hba.conf of the volume.
*/}}
{{- define "postgres.container" -}}
{{- if include "common.storeHasTls" . -}}
command: [bash, -euc]
args:
  - |
    printf '%s\n' 'local all all trust' 'hostssl all all all scram-sha-256' >/tmp/pg_hba.conf
    {{- /* not common.onChange: another text would restart every database when this chart is rolled out */}}
    (
      used=$(cksum </tls/tls.crt)
      while sleep 60; do
        new=$(cksum </tls/tls.crt) || continue
        if [ "$new" != "$used" ] && pg_ctl reload --pgdata "$PGDATA" >/dev/null; then used=$new; fi
      done
    ) &
    exec docker-entrypoint.sh "$@"
  - bash
{{- else -}}
args:
{{- end }}
  - postgres
  {{- range $name, $value := include "postgres.parameters" . | fromYaml }}
  - -c
  - {{ printf "%s=%v" $name $value | quote }}
  {{- end }}
env:
  {{- range $name, $key := dict "POSTGRES_USER" "DB_USER" "POSTGRES_PASSWORD" "DB_PASSWORD" "POSTGRES_DB" "DB_NAME" }}
  {{- include "common.storeSecretEnv" (dict "root" $ "name" $name "key" $key) | nindent 2 }}
  {{- end }}
  {{- /* A directory inside the volume, since initdb requires an empty directory that its user owns. */}}
  - { name: PGDATA, value: /var/lib/postgresql/data/pgdata }
volumeMounts:
  - { name: data, mountPath: /var/lib/postgresql/data }
  - { name: run, mountPath: /var/run/postgresql }
  - { name: tmp, mountPath: /tmp }
  {{- include "common.certificateMount" . | nindent 2 }}
{{- end -}}

{{/*
Buffers and connections grow with the memory limit: 256Mi gives 32MB of buffers and 60 connections. CloudNativePG sets
those of TLS itself.
*/}}
{{- define "postgres.parameters" -}}
{{- $memory := include "common.mebibytes" (((.Values.resources).limits).memory | default "256Mi") | int -}}
{{- $sized := dict
  "shared_buffers" (printf "%dMB" (max 16 (div $memory 8)))
  "effective_cache_size" (printf "%dMB" (max 32 (div $memory 2)))
  "max_connections" (max 40 (div (mul $memory 60) 256))
  "max_wal_size" "256MB"
  "jit" "off"
-}}
{{- if and (include "common.storeHasTls" .) (ne .Values.provider "cnpg") -}}
{{- $files := dict "ssl_cert_file" "/tls/tls.crt" "ssl_key_file" "/tls/tls.key" "hba_file" "/tmp/pg_hba.conf" -}}
{{- $sized = merge $sized $files (dict "ssl" "on") -}}
{{- end -}}
{{- mergeOverwrite $sized (deepCopy .Values.parameters) | toYaml -}}
{{- end -}}

{{/*
Connects by TCP, because the temporary server that initialises the database on the first start listens only on a Unix
socket and must not count as started. Debian's pg_isready on the PATH is a script that takes six times the processor
time of the program, once a second for each database of a shop that starts.
*/}}
{{- define "postgres.startupCommand" -}}
- sh
- -c
- >-
  PATH=$(echo /usr/lib/postgresql/*/bin):$PATH
  exec pg_isready -q -h 127.0.0.1 -p {{ .Values.ports.postgres }} -U "$POSTGRES_USER" -d "$POSTGRES_DB" -t 4
{{- end -}}

{{- define "postgres.volumes" -}}
- { name: run, emptyDir: { sizeLimit: 1Mi } }
- { name: tmp, emptyDir: { sizeLimit: 64Mi } }
{{- include "common.certificateVolume" . }}
{{- end -}}
