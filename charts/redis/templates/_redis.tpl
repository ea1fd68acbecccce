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

{{/*
Passwords are passed in a file that only Redis reads, because every user can see the arguments of a process. Redis
accepts those of all keys of its Secret that begin with REDIS_PASSWORD: while the password is rotated, there are two.
They are taken over while it runs (docs/adr/0051), so a rotation restarts no cache.
*/}}
{{- define "redis.container" -}}
{{- $memory := include "common.mebibytes" (((.Values.resources).limits).memory | default "128Mi") | int -}}
{{- $tls := ternary " --tls --insecure" "" (eq "yes" (include "common.storeHasTls" .)) -}}
command: [sh, -euc]
args:
  - |
    umask 077
    read_passwords() { # as arguments of an ACL; fails if the files change at the same time
      for file in /credentials/REDIS_PASSWORD*; do
        password=$(cat "$file") || return 1
        printf '>%s ' "$password"
      done >/tmp/passwords
      echo >>/tmp/passwords
    }
    run() { # a command, as a user whose password Redis has already
      read -r password _ </tmp/accepted
      REDISCLI_AUTH=${password#>} redis-cli{{ $tls }} -p {{ .Values.ports.redis }} "$@" | grep -qx OK
    }
    take_over() {
      read_passwords && printf 'ACL SETUSER default resetpass %s\n' "$(cat /tmp/passwords)" | run &&
        mv /tmp/passwords /tmp/accepted
    }
    {{- include "common.onChange" (dict "files" "/credentials/REDIS_PASSWORD*" "command" "take_over") | nindent 4 }}
    read_passwords
    mv /tmp/passwords /tmp/accepted
    printf 'user default on %s ~* &* +@all\n' "$(cat /tmp/accepted)" >/tmp/redis.conf
    {{- if $tls }}
    {{- /* Redis reads both files again when they are set. The client is in the same pod and verifies nothing. */}}
    {{- $set := "run config set tls-cert-file /tls/tls.crt tls-key-file /tls/tls.key" }}
    {{- include "common.onChange" (dict "files" "/tls/tls.crt" "command" $set) | nindent 4 }}
    set -- --port 0 --tls-port {{ .Values.ports.redis }} --tls-auth-clients no \
      --tls-cert-file /tls/tls.crt --tls-key-file /tls/tls.key
    {{- else }}
    set -- --port {{ .Values.ports.redis }}
    {{- end }}
    exec redis-server /tmp/redis.conf --bind '* -::*' "$@" --dir /tmp \
      --save '' --appendonly no --maxmemory {{ max 8 (div $memory 2) }}mb --maxmemory-policy allkeys-lru
volumeMounts:
  - { name: tmp, mountPath: /tmp }
  - { name: credentials, mountPath: /credentials, readOnly: true }
  {{- include "common.certificateMount" . | nindent 2 }}
{{- end -}}

{{- define "redis.volumes" -}}
- { name: tmp, emptyDir: { sizeLimit: 16Mi } }
- { name: credentials, secret: { secretName: {{ include "common.storeSecretName" . | quote }}, defaultMode: 0440 } }
{{- include "common.certificateVolume" . }}
{{- end -}}
