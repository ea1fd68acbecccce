{{/* The head of a NetworkPolicy: what it selects may do what the rules after it say, and nothing else. Takes root; name and component where they differ. */}}
{{- define "common.networkPolicy" -}}
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata:
  {{- include "common.metadata" (dict "root" .root "name" .name "wave" 0) | nindent 2 }}
spec:
  podSelector:
    matchLabels:
      {{- include "common.selectorLabels" (dict "root" .root "component" .component) | nindent 6 }}
  policyTypes: [Ingress, Egress]
{{- end -}}

{{/* Who may come to a service: the gateway by HTTP (anybody, if it is the gateway), its callers by gRPC; and whom it may go to. */}}
{{- define "common.serviceNetworkPolicy" -}}
{{ include "common.networkPolicy" (dict "root" .) }}
  ingress:
    - ports: [{ port: http, protocol: TCP }]
      {{- if not .Values.routes }}
      from:
        {{- include "common.peers" (dict "root" . "components" (list "gateway")) | nindent 8 }}
      {{- end }}
    {{- if and .Values.ports.grpc .Values.callers }}
    - ports: [{ port: grpc, protocol: TCP }]
      from:
        {{- include "common.peers" (dict "root" . "components" .Values.callers) | nindent 8 }}
    {{- end }}
    {{- include "common.metricsIngress" . | nindent 4 }}
    {{- with .Values.networkPolicy.extraIngress }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  egress:
    {{- include "common.dnsEgress" . | nindent 4 }}
    {{- range $kind, $credential := include "common.credentials" . | fromYaml }}
    {{- with $credential.store }}
    {{- include "common.egress" (dict "root" $ "component" .component "port" .port) | nindent 4 }}
    {{- end }}
    {{- end }}
    {{- range $name, $port := .Values.neighbours }}
    {{- include "common.egress" (dict "root" $ "component" $name "port" $port) | nindent 4 }}
    {{- end }}
    {{- range $name, $port := .Values.routes }}
    {{- include "common.egress" (dict "root" $ "component" $name "port" $port) | nindent 4 }}
    {{- end }}
    {{- range include "common.outsidePorts" . | fromYamlArray | uniq }}
    {{- include "common.egress" (dict "root" $ "port" .) | nindent 4 }}
    {{- end }}
    {{- with .Values.networkPolicy.extraEgress }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
{{- end -}}

{{/* A migration goes to its database; nobody comes to it. */}}
{{- define "common.migrationNetworkPolicy" -}}
{{- $store := (get (include "common.credentials" . | fromYaml) "database").store -}}
{{ include "common.networkPolicy" (dict "root" . "name" (printf "%s-migrate" (include "common.fullname" .)) "component" (printf "%s-migrate" (include "common.component" .))) }}
  egress:
    {{- include "common.dnsEgress" . | nindent 4 }}
    {{- include "common.egress" (dict "root" . "component" $store.component "port" $store.port) | nindent 4 }}
{{- end -}}

{{/* Who may come to a store: its clients (every pod of the namespace where none is named), and Prometheus if it has metrics. */}}
{{- define "common.storeNetworkPolicy" -}}
{{ include "common.networkPolicy" (dict "root" .) }}
  ingress:
    - ports: [{ port: {{ .Values.serve }}, protocol: TCP }]
      from:
        {{- if .Values.clients }}
        {{- include "common.peers" (dict "root" . "components" .Values.clients) | nindent 8 }}
        {{- else }}
        - podSelector: {}
        {{- end }}
    {{- if .Values.ports.metrics }}
    {{- include "common.metricsIngress" . | nindent 4 }}
    {{- end }}
{{- end -}}

{{- define "common.peers" -}}
- podSelector:
    matchLabels:
      app.kubernetes.io/instance: {{ include "common.platform" .root | quote }}
    matchExpressions:
      - { key: app.kubernetes.io/component, operator: In, values: {{ toJson .components }} }
{{- end -}}

{{/* Who may read figures: Prometheus, the shop's own too, and the operator, which says in a platform's status what they mean. */}}
{{- define "common.metricsIngress" -}}
- ports: [{ port: metrics, protocol: TCP }]
  from:
    - namespaceSelector:
        matchExpressions:
          - { key: kubernetes.io/metadata.name, operator: In, values: {{ toJson .Values.global.networkPolicies.metricsFrom }} }
    {{- if ((.Values.global).monitoring).prometheus }}
    {{- include "common.peers" (dict "root" . "components" (list "monitoring")) | nindent 4 }}
    {{- end }}
{{- end -}}

{{/* To a component of the platform; to anywhere, where none is named. */}}
{{- define "common.egress" -}}
- ports: [{ port: {{ .port }}, protocol: TCP }]
  {{- if .component }}
  to:
    {{- include "common.peers" (dict "root" .root "components" (list .component)) | nindent 4 }}
  {{- end }}
{{- end -}}

{{/* The cluster's DNS; and where a node answers instead of its pods, NodeLocal DNSCache and GKE's Cloud DNS, which are no pods to a policy. */}}
{{- define "common.dnsEgress" -}}
- ports: [{ port: 53, protocol: UDP }, { port: 53, protocol: TCP }]
  to:
    - namespaceSelector:
        matchLabels: { kubernetes.io/metadata.name: kube-system }
      podSelector:
        matchLabels: { k8s-app: kube-dns }
    - ipBlock: { cidr: 169.254.20.10/32 }
    - ipBlock: { cidr: 169.254.169.254/32 }
{{- end -}}
