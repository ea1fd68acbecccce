{{- define "rabbitmq.credential" -}}
{{- include "common.requireUrlSafe" (dict "root" . "field" "password") -}}
{{- include "common.requireUrlSafe" (dict "root" . "field" "username") -}}
RABBITMQ_USER: {{ .Values.username | quote }}
RABBITMQ_PASSWORD: {{ .Values.password | quote }}
{{- $host := include "common.fullname" . }}
RABBITMQ_URL: {{ printf "amqp://%s:%s@%s:%v/" .Values.username .Values.password $host .Values.ports.amqp | quote }}
{{- end -}}

{{/* One more file in the image's conf.d, which RabbitMQ reads last. */}}
{{- define "rabbitmq.files" -}}
{{- $memory := include "common.mebibytes" (((.Values.resources).limits).memory | default "512Mi") | int -}}
90-platform.conf: |
  listeners.tcp.default = {{ .Values.ports.amqp }}
  prometheus.tcp.port = {{ .Values.ports.metrics }}
  default_user = $(RABBITMQ_DEFAULT_USER)
  default_pass = $(RABBITMQ_DEFAULT_PASS)
  log.console = true
  log.console.formatter = json
  log.file = false
  # A node does not see its container's limit; at this it makes publishers wait.
  vm_memory_high_watermark.absolute = {{ div (mul $memory 6) 10 }}MiB
  disk_free_limit.absolute = 64MiB
  # What quorum queues keep in memory before they write it out: the default, 512 MiB, is more than the pod has.
  raft.wal_max_size_bytes = {{ mul (div $memory 16) 1048576 }}
{{- end -}}

{{- define "rabbitmq.container" -}}
env:
  {{- range $name, $key := dict "RABBITMQ_DEFAULT_USER" "RABBITMQ_USER" "RABBITMQ_DEFAULT_PASS" "RABBITMQ_PASSWORD" }}
  {{- include "common.storeSecretEnv" (dict "root" $ "name" $name "key" $key) | nindent 2 }}
  {{- end }}
  {{- /* Makes idle schedulers of Erlang sleep; by default they spin. */}}
  - { name: RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS, value: "+sbwt none +sbwtdcpu none +sbwtdio none" }
volumeMounts:
  - { name: data, mountPath: /var/lib/rabbitmq }
  - { name: config, mountPath: /etc/rabbitmq/conf.d/90-platform.conf, subPath: 90-platform.conf, readOnly: true }
  - { name: log, mountPath: /var/log/rabbitmq }
  - { name: tmp, mountPath: /tmp }
{{- end -}}

{{- define "rabbitmq.volumes" -}}
- name: config
  configMap: { name: {{ include "common.fullname" . }} }
- { name: log, emptyDir: { sizeLimit: 64Mi } }
- { name: tmp, emptyDir: { sizeLimit: 64Mi } }
{{- end -}}
