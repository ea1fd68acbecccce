{{- define "redis.credential" -}}
{{- include "common.requireUrlSafe" (dict "root" . "field" "password") -}}
REDIS_PASSWORD: {{ .Values.password | quote }}
REDIS_URL: {{ printf "redis://:%s@%s:%v/0" .Values.password (include "common.fullname" .) .Values.ports.redis | quote }}
{{- end -}}

{{/* The password is passed in a file that only Redis reads, because every user can see the arguments of a process. */}}
{{- define "redis.container" -}}
{{- $memory := include "common.mebibytes" (((.Values.resources).limits).memory | default "128Mi") | int -}}
command: [sh, -euc]
args:
  - |
    umask 077
    printf 'requirepass %s\n' "$REDIS_PASSWORD" >/tmp/redis.conf
    unset REDIS_PASSWORD
    exec redis-server /tmp/redis.conf --bind '* -::*' --port {{ .Values.ports.redis }} --dir /tmp \
      --save '' --appendonly no --maxmemory {{ max 8 (div $memory 2) }}mb --maxmemory-policy allkeys-lru
env:
  {{- include "common.storeSecretEnv" (dict "root" . "name" "REDIS_PASSWORD" "key" "REDIS_PASSWORD") | nindent 2 }}
volumeMounts:
  - { name: tmp, mountPath: /tmp }
{{- end -}}

{{- define "redis.volumes" -}}
- { name: tmp, emptyDir: { sizeLimit: 16Mi } }
{{- end -}}
