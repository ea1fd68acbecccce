{{- define "rabbitmq.credential" -}}
{{- include "common.requireUrlSafe" (dict "root" . "field" "password") -}}
{{- include "common.requireUrlSafe" (dict "root" . "field" "username") -}}
RABBITMQ_USER: {{ .Values.username | quote }}
RABBITMQ_PASSWORD: {{ .Values.password | quote }}
{{- include "rabbitmq.access" (dict "root" . "user" .Values.username "password" .Values.password) | nindent 0 }}
{{- end -}}

{{/* The URL of a user, and the authority that the broker's certificate is verified by. Takes root, user, password. */}}
{{- define "rabbitmq.access" -}}
{{- $authority := include "common.storeAuthority" .root -}}
{{- $scheme := ternary "amqp" "amqps" (empty $authority) -}}
{{- $host := include "common.fullname" .root -}}
RABBITMQ_URL: {{ printf "%s://%s:%s@%s:%v/" $scheme .user .password $host .root.Values.ports.amqp | quote }}
{{- with $authority }}
RABBITMQ_CA: {{ . | quote }}
{{- end }}
{{- end -}}

{{/*
The services that have users of their own in files/definitions.json, as a list. The first user is the administrator, and
each service has a second one.
*/}}
{{- define "rabbitmq.services" -}}
{{- $names := list -}}
{{- range rest (.Files.Get "files/definitions.json" | fromJson).users -}}
{{- if not (hasPrefix "2." .name) }}{{ $names = append $names .name }}{{ end -}}
{{- end -}}
{{- toJson $names -}}
{{- end -}}

{{/*
The Secrets of the services' users. Their passwords follow from the administrator's, from which none of them can be
computed backwards, so a shop of an earlier release gets them without new values. With an existing Secret the password
is unknown here, and these Secrets exist too.
*/}}
{{- define "rabbitmq.serviceSecrets" -}}
{{- range $service := include "rabbitmq.services" . | fromJsonArray }}
{{- $password := printf "%s/%s" $service $.Values.password | sha256sum }}
{{- $access := include "rabbitmq.access" (dict "root" $ "user" $service "password" $password) | fromYaml }}
{{- $content := merge (dict "RABBITMQ_PASSWORD" $password) $access }}
---
{{- $name := include "common.brokerSecret" (dict "root" $ "service" $service) }}
{{ include "common.secret" (dict "root" $ "name" $name "content" $content) }}
{{- end }}
{{- end -}}

{{/*
90-platform.conf is one more file in the image's conf.d, which RabbitMQ reads last. The definitions have the queues, and
the users with what each may do: devtools.broker_definitions generates them.
*/}}
{{- define "rabbitmq.files" -}}
{{- if ne .Values.provider "rabbitmq-operator" -}}
90-platform.conf: |
  {{- if include "common.storeHasTls" . }}
  listeners.tcp = none
  listeners.ssl.default = {{ .Values.ports.amqp }}
  # Erlang reads the files again within two minutes after they have changed.
  ssl_options.cacertfile = /tls/ca.crt
  ssl_options.certfile = /tls/tls.crt
  ssl_options.keyfile = /tls/tls.key
  ssl_options.verify = verify_none
  ssl_options.fail_if_no_peer_cert = false
  # For `kubectl port-forward`: it has no TLS, and the password of the administrator must not be sent without.
  management.tcp.ip = 127.0.0.1
  {{- else }}
  listeners.tcp.default = {{ .Values.ports.amqp }}
  {{- end }}
  {{- include "rabbitmq.commonConfiguration" . | nindent 2 }}
{{- end }}
{{- range list "definitions.json" "write-definitions.bash" "write-listeners.bash" }}
{{ . }}: |
  {{- include "rabbitmq.file" (dict "root" $ "name" .) | trim | nindent 2 }}
{{- end }}
{{- end -}}

{{/*
A file of the chart. The definitions of a cluster have one policy more: a queue keeps an event that it dead-letters
until the queue of dead letters has it on most nodes. Takes root and name.
*/}}
{{- define "rabbitmq.file" -}}
{{- $text := .root.Files.Get (printf "files/%s" .name) -}}
{{- if and (eq .name "definitions.json") (eq .root.Values.provider "rabbitmq-operator") -}}
{{- $queues := list -}}
{{- range $queue := (fromJson $text).queues -}}
{{- if hasKey $queue.arguments "x-delivery-limit" }}{{ $queues = append $queues $queue.name }}{{ end -}}
{{- end -}}
{{- $policy := dict
  "name" "dead-letters" "vhost" "/" "apply-to" "quorum_queues" "priority" 0
  "pattern" (printf "^(%s)$" (join "|" $queues))
  "definition" (dict "dead-letter-strategy" "at-least-once" "overflow" "reject-publish")
-}}
{{- $text = $text | replace "{\n  \"vhosts\"" (printf "{\n  \"policies\": [%s],\n  \"vhosts\"" (toJson $policy)) -}}
{{- end -}}
{{- $text -}}
{{- end -}}

{{/* What RabbitMQ is told in either form, without its listeners. */}}
{{- define "rabbitmq.commonConfiguration" -}}
{{- $memory := include "common.mebibytes" (((.Values.resources).limits).memory | default "512Mi") | int -}}
prometheus.tcp.port = {{ .Values.ports.metrics }}
load_definitions = /etc/rabbitmq/definitions/definitions.json
log.console = true
log.console.formatter = json
log.file = false
# A node does not see its container's limit; at this it makes publishers wait.
vm_memory_high_watermark.absolute = {{ div (mul $memory 6) 10 }}MiB
disk_free_limit.absolute = 64MiB
# What quorum queues keep in memory before they write it out: the default, 512 MiB, is more than the pod has.
raft.wal_max_size_bytes = {{ mul (div $memory 16) 1048576 }}
{{- end -}}

{{/* Writes what depends on the node into the configuration. */}}
{{- define "rabbitmq.initContainer" -}}
name: listeners
{{ include "common.containerImage" . }}
command: [bash, -euc, "bash /config/write-listeners.bash >/definitions/listeners.conf"]
volumeMounts:
  - { name: config, mountPath: /config, readOnly: true }
  - { name: definitions, mountPath: /definitions }
resources:
  requests: { cpu: 10m, memory: 16Mi }
  limits:
    memory: 64Mi
    {{- with ((.Values.resources).limits).cpu }}
    cpu: {{ . | quote }}
    {{- end }}
{{ include "common.containerSecurity" . }}
{{- end -}}

{{/*
Writes the passwords into the definitions, in memory, so that the container has none in its environment. It does so
again when a Secret has changed, and RabbitMQ then imports them while it runs (docs/adr/0051): importing is idempotent.
A user without a password cannot log in, so its connections are closed.
*/}}
{{- define "rabbitmq.command" -}}
command: [bash, -euc]
args:
  - |
    definitions=/etc/rabbitmq/definitions/definitions.json
    write() {
      (umask 077 && bash /config/write-definitions.bash /config/definitions.json /users >$definitions.new) &&
        mv $definitions.new $definitions
    }
    take_over() {
      write && rabbitmqctl --quiet import_definitions $definitions || return 1
      for user in $(sed -n 's/.*"name": "\([^"]*\)", "password": "".*/\1/p' $definitions); do
        rabbitmqctl --quiet close_all_user_connections "$user" "the password was rotated" || return 1
      done
    }
    {{- include "common.onChange" (dict "files" "/users/*" "command" "take_over") | nindent 4 }}
    write
    exec rabbitmq-server
env:
  {{- /* Makes idle schedulers of Erlang sleep; by default they spin. */}}
  - { name: RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS, value: "+sbwt none +sbwtdcpu none +sbwtdio none" }
{{- end -}}

{{- define "rabbitmq.container" -}}
{{ include "rabbitmq.command" . }}
volumeMounts:
  - { name: data, mountPath: /var/lib/rabbitmq }
  - { name: config, mountPath: /etc/rabbitmq/conf.d/90-platform.conf, subPath: 90-platform.conf, readOnly: true }
  {{- include "rabbitmq.definitionMounts" . | nindent 2 }}
  {{- include "common.certificateMount" . | nindent 2 }}
{{- end -}}

{{- define "rabbitmq.definitionMounts" -}}
- { name: definitions, mountPath: /etc/rabbitmq/conf.d/91-listeners.conf, subPath: listeners.conf, readOnly: true }
- { name: config, mountPath: /config, readOnly: true }
- { name: definitions, mountPath: /etc/rabbitmq/definitions }
- { name: users, mountPath: /users, readOnly: true }
- { name: log, mountPath: /var/log/rabbitmq }
- { name: tmp, mountPath: /tmp }
{{- end -}}

{{- define "rabbitmq.volumes" -}}
{{ include "rabbitmq.definitionVolumes" . }}
{{- include "common.certificateVolume" . }}
{{- end -}}

{{- define "rabbitmq.definitionVolumes" -}}
- name: config
  configMap: { name: {{ include "common.fullname" . }} }
- name: users
  projected:
    defaultMode: 0440
    sources:
      - secret:
          name: {{ include "common.storeSecretName" . | quote }}
          items:
            - { key: RABBITMQ_USER, path: RABBITMQ_USER }
            - { key: RABBITMQ_PASSWORD, path: RABBITMQ_PASSWORD }
      {{- range $service := include "rabbitmq.services" . | fromJsonArray }}
      {{- /* A service that still uses the administrator's user has no such Secret: its own then has no password. */}}
      - secret:
          name: {{ include "common.brokerSecret" (dict "root" $ "service" $service) | quote }}
          optional: true
          items:
            - { key: RABBITMQ_PASSWORD, path: {{ upper $service }}_PASSWORD }
            - { key: RABBITMQ_SECOND_PASSWORD, path: SECOND_{{ upper $service }}_PASSWORD }
      {{- end }}
- { name: definitions, emptyDir: { medium: Memory, sizeLimit: 1Mi } }
- { name: log, emptyDir: { sizeLimit: 64Mi } }
- { name: tmp, emptyDir: { sizeLimit: 64Mi } }
{{- end -}}
