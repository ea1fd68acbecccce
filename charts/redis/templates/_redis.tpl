{{- define "redis.credential" -}}
{{- include "common.requireUrlSafe" (dict "root" . "field" "password") -}}
REDIS_PASSWORD: {{ .Values.password | quote }}
{{- $authority := include "common.storeAuthority" . }}
{{- $scheme := ternary "redis" "rediss" (empty $authority) }}
{{- $host := include "common.fullname" . }}
REDIS_URL: {{ printf "%s://:%s@%s:%v/0" $scheme .Values.password $host .Values.ports.redis | quote }}
{{- with $authority }}
REDIS_CA: {{ . | quote }}
{{- end }}
{{- end -}}

{{/* The password is passed in a file that only Redis reads, because every user can see the arguments of a process. */}}
{{- define "redis.container" -}}
{{- $memory := include "common.mebibytes" (((.Values.resources).limits).memory | default "128Mi") | int -}}
command: [sh, -euc]
args:
  - |
    umask 077
    printf 'requirepass %s\n' "$REDIS_PASSWORD" >/tmp/redis.conf
    {{- if include "common.storeHasTls" . }}
    {{- include "common.onNewCertificate" (include "redis.reloadCertificate" .) | nindent 4 }}
    set -- --port 0 --tls-port {{ .Values.ports.redis }} --tls-auth-clients no \
      --tls-cert-file /tls/tls.crt --tls-key-file /tls/tls.key
    {{- else }}
    set -- --port {{ .Values.ports.redis }}
    {{- end }}
    unset REDIS_PASSWORD
    exec redis-server /tmp/redis.conf --bind '* -::*' "$@" --dir /tmp \
      --save '' --appendonly no --maxmemory {{ max 8 (div $memory 2) }}mb --maxmemory-policy allkeys-lru
env:
  {{- include "common.storeSecretEnv" (dict "root" . "name" "REDIS_PASSWORD" "key" "REDIS_PASSWORD") | nindent 2 }}
volumeMounts:
  - { name: tmp, mountPath: /tmp }
  {{- include "common.certificateMount" . | nindent 2 }}
{{- end -}}

{{/* Redis reads both files again when they are set. The client is in the same pod and verifies nothing. */}}
{{- define "redis.reloadCertificate" -}}
REDISCLI_AUTH=$REDIS_PASSWORD redis-cli -e --tls --insecure -p {{ .Values.ports.redis }} \
      config set tls-cert-file /tls/tls.crt tls-key-file /tls/tls.key
{{- end -}}

{{- define "redis.volumes" -}}
- { name: tmp, emptyDir: { sizeLimit: 16Mi } }
{{- include "common.certificateVolume" . }}
{{- end -}}
