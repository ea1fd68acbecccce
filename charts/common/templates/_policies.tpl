{{/*
The start of a NetworkPolicy, which allows its pods only what the rules after it allow. Takes root; name and component
where they differ from the chart's own.
*/}}
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

{{/*
The connections of a service. The gateway may connect to it by HTTP, its callers by gRPC. To the gateway itself any
client may connect, or the pods of proxyNamespaces alone. It may connect to its stores, its neighbours, its routes and
external services.
*/}}
{{- define "common.serviceNetworkPolicy" -}}
{{ include "common.networkPolicy" (dict "root" .) }}
  ingress:
    - ports: [{ port: http, protocol: TCP }]
      {{- if not .Values.routes }}
      from:
        {{- include "common.peers" (dict "root" . "components" (list "gateway")) | nindent 8 }}
      {{- else if .Values.proxyNamespaces }}
      from:
        - namespaceSelector:
            matchExpressions:
              - { key: kubernetes.io/metadata.name, operator: In, values: {{ toJson .Values.proxyNamespaces }} }
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
    {{- range include "common.externalPorts" . | fromYamlArray | uniq }}
    {{- include "common.egress" (dict "root" $ "port" .) | nindent 4 }}
    {{- end }}
    {{- with .Values.networkPolicy.extraEgress }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
{{- end -}}

{{/* A migration connects to its database, and nothing connects to it. */}}
{{- define "common.migrationNetworkPolicy" -}}
{{- $store := (get (include "common.credentials" . | fromYaml) "database").store -}}
{{- $name := printf "%s-migrate" (include "common.fullname" .) -}}
{{- $component := printf "%s-migrate" (include "common.component" .) -}}
{{ include "common.networkPolicy" (dict "root" . "name" $name "component" $component) }}
  egress:
    {{- include "common.dnsEgress" . | nindent 4 }}
    {{- include "common.egress" (dict "root" . "component" $store.component "port" $store.port) | nindent 4 }}
{{- end -}}

{{/*
The connections to a store: from its clients (from every pod of the namespace if its values name none), and from
Prometheus if it has metrics.
*/}}
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

{{/* The pods of components of the platform. Takes root and components. */}}
{{- define "common.peers" -}}
- podSelector:
    matchLabels:
      app.kubernetes.io/instance: {{ include "common.platform" .root | quote }}
    matchExpressions:
      - { key: app.kubernetes.io/component, operator: In, values: {{ toJson .components }} }
{{- end -}}

{{/*
The readers of metrics: Prometheus, the shop's own included, and the operator, which reports in the status of a platform
what they mean.
*/}}
{{- define "common.metricsIngress" -}}
- ports: [{ port: metrics, protocol: TCP }]
  from:
    {{- $namespaces := toJson .Values.global.networkPolicies.metricsFrom }}
    - namespaceSelector:
        matchExpressions:
          - { key: kubernetes.io/metadata.name, operator: In, values: {{ $namespaces }} }
    {{- if ((.Values.global).monitoring).prometheus }}
    {{- include "common.peers" (dict "root" . "components" (list "monitoring")) | nindent 4 }}
    {{- end }}
{{- end -}}

{{/* Connections to a component of the platform, or to any address. Takes root, port, and component for the first. */}}
{{- define "common.egress" -}}
- ports: [{ port: {{ .port }}, protocol: TCP }]
  {{- if .component }}
  to:
    {{- include "common.peers" (dict "root" .root "components" (list .component)) | nindent 4 }}
  {{- end }}
{{- end -}}

{{/*
The DNS of the cluster. NodeLocal DNSCache and Cloud DNS of GKE answer on the node, which a policy does not select as a
pod: these need their addresses.
*/}}
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
