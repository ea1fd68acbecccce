{{- define "postgres.credential" -}}
DB_HOST: {{ include "common.fullname" . }}
DB_PORT: {{ .Values.ports.postgres | quote }}
DB_USER: {{ .Values.username | quote }}
DB_PASSWORD: {{ .Values.password | quote }}
DB_NAME: {{ .Values.database | quote }}
{{- end -}}

{{- define "postgres.container" -}}
args:
  - postgres
  {{- range $name, $value := include "postgres.parameters" . | fromYaml }}
  - -c
  - {{ printf "%s=%v" $name $value | quote }}
  {{- end }}
env:
  {{- range $name, $key := dict "POSTGRES_USER" "DB_USER" "POSTGRES_PASSWORD" "DB_PASSWORD" "POSTGRES_DB" "DB_NAME" }}
  {{- include "common.storeEnv" (dict "root" $ "name" $name "key" $key) | nindent 2 }}
  {{- end }}
  {{- /* Not the volume itself: initdb wants a directory that is empty and its own. */}}
  - { name: PGDATA, value: /var/lib/postgresql/data/pgdata }
volumeMounts:
  - { name: data, mountPath: /var/lib/postgresql/data }
  - { name: run, mountPath: /var/run/postgresql }
  - { name: tmp, mountPath: /tmp }
{{- end -}}

{{/* 256Mi gives 32MB of buffers and 60 connections; more memory gives more of both. */}}
{{- define "postgres.parameters" -}}
{{- $memory := include "common.mebibytes" (((.Values.resources).limits).memory | default "256Mi") | int -}}
{{- $sized := dict
  "shared_buffers" (printf "%dMB" (max 16 (div $memory 8)))
  "effective_cache_size" (printf "%dMB" (max 32 (div $memory 2)))
  "max_connections" (max 40 (div (mul $memory 60) 256))
  "max_wal_size" "256MB"
  "jit" "off"
-}}
{{- mergeOverwrite $sized (deepCopy .Values.parameters) | toYaml -}}
{{- end -}}

{{/* Over TCP: the server that the first start initialises with listens on its socket only, and must not be taken for it. */}}
{{- define "postgres.started" -}}
- sh
- -c
- exec pg_isready -q -h 127.0.0.1 -p {{ .Values.ports.postgres }} -U "$POSTGRES_USER" -d "$POSTGRES_DB" -t 4
{{- end -}}

{{- define "postgres.volumes" -}}
- { name: run, emptyDir: { sizeLimit: 1Mi } }
- { name: tmp, emptyDir: { sizeLimit: 64Mi } }
{{- end -}}
