{{/*
The broker as a RabbitmqCluster, of which the RabbitMQ cluster operator makes the pods, the volumes and the Service that
clients connect to. docs/adr/0066 describes what of it is the shop's and what is that operator's.
*/}}
{{- define "rabbitmq.cluster" -}}
{{- $store := dict "root" . "credential" "rabbitmq.credential" "files" "rabbitmq.files" -}}
{{- $credential := include "common.storeCredential" $store | fromYaml }}
{{- with $credential.content }}
{{ include "common.secret" (dict "root" $ "name" $credential.secret "content" .) }}
---
{{- end }}
{{- if and (include "common.storeHasTls" .) (not .Values.existingSecret) }}
{{ include "common.certificateSecret" . }}
---
{{- end }}
{{ include "common.configMap" $store }}
---
{{ include "common.pdb" . }}
---
{{- if ((.Values.global).networkPolicies).enabled }}
{{ include "rabbitmq.clusterNetworkPolicy" . }}
---
{{- end }}
{{- range $node := until (int .Values.nodes) }}
{{ include "rabbitmq.nodeService" (dict "root" $ "node" $node) }}
---
{{- end }}
{{- if and (((.Values.global).monitoring).serviceMonitors) .Values.ports.metrics }}
{{ include "common.serviceMonitor" (dict "root" . "queueMetrics" "queue_coarse_metrics") }}
---
{{- end }}
apiVersion: rabbitmq.com/v1beta1
kind: RabbitmqCluster
metadata:
  {{- include "common.metadata" (dict "root" . "wave" 1) | nindent 2 }}
    {{- with include "common.keepAnnotations" . }}
    {{- . | nindent 4 }}
    {{- end }}
spec:
  {{- include "rabbitmq.clusterSpec" . | nindent 2 }}
{{- end -}}

{{- define "rabbitmq.clusterSpec" -}}
replicas: {{ ternary 0 (int .Values.nodes) (eq ((.Values.global).hibernated | default "") "All") }}
image: {{ include "common.image" . }}
{{- with ((.Values.global).image).pullSecrets }}
imagePullSecrets:
  {{- range . }}
  - name: {{ . | quote }}
  {{- end }}
{{- end }}
{{- if include "common.storeHasTls" . }}
tls: { secretName: {{ include "common.certificateSecretName" . }}, disableNonTLSListeners: true }
{{- end }}
persistence:
  storage: {{ .Values.storage.size }}
  {{- with .Values.storage.storageClassName | default (.Values.global).storageClassName }}
  storageClassName: {{ . | quote }}
  {{- end }}
resources:
  {{- toYaml .Values.resources | nindent 2 }}
{{- range $name, $value := pick ((.Values.global).pods | default dict) "affinity" "tolerations" }}
{{- with $value }}
{{ $name }}: {{ toJson . }}
{{- end }}
{{- end }}
{{- /*
A node that stops waits until every queue has a majority without it, and stops without one after this time. All nodes
of a shop that is hibernated wait so for each other, so it is short.
*/}}
terminationGracePeriodSeconds: 60
rabbitmq:
  additionalConfig: |
    {{- include "rabbitmq.clusterConfiguration" . | nindent 4 }}
override:
  service:
    spec:
      ports:
        - { name: amqp, port: {{ .Values.ports.amqp }}, targetPort: {{ .Values.ports.amqp }}, protocol: TCP }
  statefulSet:
    spec:
      template:
        {{- include "rabbitmq.clusterPod" . | nindent 8 }}
{{- end -}}

{{/*
What RabbitMQ reads after the configuration of the cluster operator. That operator's own listener with TLS, 5671, is
what its readiness probe connects to; clients use the port of every other broker of a shop.
*/}}
{{- define "rabbitmq.clusterConfiguration" -}}
{{- if include "common.storeHasTls" . -}}
listeners.ssl.clients = {{ .Values.ports.amqp }}
# Erlang reads the files again within two minutes after they have changed.
ssl_options.verify = verify_none
ssl_options.fail_if_no_peer_cert = false
# For `kubectl port-forward`.
management.tcp.port = 15672
management.tcp.ip = 127.0.0.1
{{- else -}}
listeners.tcp.default = {{ .Values.ports.amqp }}
{{- end }}
{{ include "rabbitmq.commonConfiguration" . }}
# A queue that was declared before all nodes had joined, or has lost one of its replicas, gets one on each node.
quorum_queue.continuous_membership_reconciliation.enabled = true
quorum_queue.continuous_membership_reconciliation.auto_remove = false
quorum_queue.continuous_membership_reconciliation.interval = 60000
quorum_queue.continuous_membership_reconciliation.target_group_size = {{ .Values.nodes }}
queue_leader_locator = balanced
{{- end -}}

{{/*
What of a pod differs from the cluster operator's: the labels by which policies find it, the restricted Pod Security
level, and the definitions with the users of the services, which its container imports as that of a single node does.
*/}}
{{- define "rabbitmq.clusterPod" -}}
{{- $pods := (.Values.global).pods | default dict -}}
metadata:
  labels:
    {{- include "common.selectorLabels" (dict "root" .) | nindent 4 }}
    app.kubernetes.io/version: {{ include "common.version" . | quote }}
    {{- with include "common.extraMetadata" (dict "root" . "part" "pods" "field" "labels") }}
    {{- trim . | nindent 4 }}
    {{- end }}
  {{- $own := dict
    "platform.ecommerce.dev/config" (include "rabbitmq.files" . | sha256sum | trunc 16)
    "kubectl.kubernetes.io/default-container" "rabbitmq"
  }}
  {{- with include "common.podAnnotations" (dict "root" . "own" $own) }}
  {{- trim . | nindent 2 }}
  {{- end }}
spec:
  enableServiceLinks: false
  securityContext:
    {{- if eq ($pods.userIds | default "") "Assigned" }} {}
    {{- else }}
    {{- include "common.podSecurityContext" (dict "root" . "uid" 999) | nindent 4 }}
    {{- end }}
  {{- range $name, $value := pick $pods "nodeSelector" "priorityClassName" }}
  {{- with $value }}
  {{ $name }}: {{ toJson . }}
  {{- end }}
  {{- end }}
  {{- include "common.topologySpread" . | nindent 2 }}
  initContainers:
    - name: setup-container
      {{- include "common.containerSecurity" . | nindent 6 }}
    - {{- include "rabbitmq.initContainer" . | nindent 6 }}
  containers:
    - name: rabbitmq
      ports:
        {{- /* Without TLS it is the cluster operator's own port, amqp, by whose name its probe finds it. */}}
        {{- if include "common.storeHasTls" . }}
        - { name: clients, containerPort: {{ .Values.ports.amqp }}, protocol: TCP }
        {{- end }}
        - { name: metrics, containerPort: {{ .Values.ports.metrics }}, protocol: TCP }
      {{- include "rabbitmq.command" . | nindent 6 }}
      volumeMounts:
        {{- include "rabbitmq.definitionMounts" . | nindent 8 }}
      {{- include "common.containerSecurity" . | nindent 6 }}
  volumes:
    {{- include "rabbitmq.definitionVolumes" . | nindent 4 }}
{{- end -}}

{{/*
A Service for each node, by which its metrics are read: a queue is counted by the node that leads it. Takes root and
node, the number of the pod.
*/}}
{{- define "rabbitmq.nodeService" -}}
{{- $name := include "common.fullname" .root -}}
apiVersion: v1
kind: Service
metadata:
  {{- include "common.metadata" (dict "root" .root "name" (printf "%s-%d" $name .node) "wave" 0) | nindent 2 }}
spec:
  type: ClusterIP
  selector:
    statefulset.kubernetes.io/pod-name: {{ $name }}-server-{{ .node }}
  ports:
    - { name: metrics, port: {{ .root.Values.ports.metrics }}, targetPort: metrics, protocol: TCP, appProtocol: http }
{{- end -}}

{{/*
The connections of a cluster, beside those from its clients: its nodes reach each other, by the port mapper of Erlang
and the port of its distribution, and the API server, which tells them who they are. The cluster operator reaches a node
through the API server alone.
*/}}
{{- define "rabbitmq.clusterNetworkPolicy" -}}
{{- $own := list (include "common.component" .) -}}
{{ include "common.networkPolicy" (dict "root" .) }}
  ingress:
    - ports: [{ port: {{ .Values.ports.amqp }}, protocol: TCP }]
      from:
        {{- if .Values.clients }}
        {{- include "common.peers" (dict "root" . "components" .Values.clients) | nindent 8 }}
        {{- else }}
        - podSelector: {}
        {{- end }}
    - ports: [{ port: 4369, protocol: TCP }, { port: 25672, protocol: TCP }]
      from:
        {{- include "common.peers" (dict "root" . "components" $own) | nindent 8 }}
    {{- include "common.metricsIngress" . | nindent 4 }}
  egress:
    {{- include "common.dnsEgress" . | nindent 4 }}
    - ports: [{ port: 4369, protocol: TCP }, { port: 25672, protocol: TCP }]
      to:
        {{- include "common.peers" (dict "root" . "components" $own) | nindent 8 }}
    - ports:
        {{- range .Values.apiServerPorts }}
        - { port: {{ . }}, protocol: TCP }
        {{- end }}
{{- end -}}
