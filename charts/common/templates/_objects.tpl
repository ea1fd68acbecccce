{{/* Objects that both services and stores have. */}}
{{- define "common.serviceAccount" -}}
apiVersion: v1
kind: ServiceAccount
metadata:
  {{- include "common.metadata" (dict "root" . "wave" 0) | nindent 2 }}
automountServiceAccountToken: false
{{- end -}}

{{/* One pod at a time may be evicted. A pod that is not ready serves no requests and may always be evicted. */}}
{{- define "common.pdb" -}}
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata:
  {{- include "common.metadata" (dict "root" . "wave" 0) | nindent 2 }}
spec:
  maxUnavailable: 1
  unhealthyPodEvictionPolicy: AlwaysAllow
  selector:
    matchLabels:
      {{- include "common.selectorLabels" (dict "root" .) | nindent 6 }}
{{- end -}}

{{- define "common.httpService" -}}
apiVersion: v1
kind: Service
metadata:
  {{- include "common.metadata" (dict "root" . "wave" 0) | nindent 2 }}
spec:
  type: ClusterIP
  selector:
    {{- include "common.selectorLabels" (dict "root" .) | nindent 4 }}
  ports:
    - { name: http, port: {{ .Values.ports.http }}, targetPort: http, protocol: TCP, appProtocol: http }
    - { name: metrics, port: {{ .Values.ports.metrics }}, targetPort: metrics, protocol: TCP, appProtocol: http }
{{- end -}}

{{/*
Headless: gRPC connections are long-lived, so clients resolve all ready pods and balance requests between them.
*/}}
{{- define "common.grpcService" -}}
apiVersion: v1
kind: Service
metadata:
  {{- $name := printf "%s-grpc" (include "common.fullname" .) }}
  {{- include "common.metadata" (dict "root" . "name" $name "wave" 0) | nindent 2 }}
spec:
  type: ClusterIP
  clusterIP: None
  selector:
    {{- include "common.selectorLabels" (dict "root" .) | nindent 4 }}
  ports:
    - { name: grpc, port: {{ .Values.ports.grpc }}, targetPort: grpc, protocol: TCP, appProtocol: grpc }
{{- end -}}

{{/* Takes root, and queueMetrics, the family of per-queue metrics, which RabbitMQ returns only on request. */}}
{{- define "common.serviceMonitor" -}}
apiVersion: monitoring.coreos.com/v1
kind: ServiceMonitor
metadata:
  {{- include "common.metadata" (dict "root" .root "wave" 5) | nindent 2 }}
spec:
  selector:
    matchLabels:
      {{- include "common.selectorLabels" (dict "root" .root) | nindent 6 }}
  endpoints:
    {{- /* The gRPC Service selects the same pods but has no port of this name. */}}
    - port: metrics
      path: /metrics
      interval: 30s
      {{- include "common.scrapeRelabelings" . | nindent 6 }}
    {{- with .queueMetrics }}
    - port: metrics
      path: /metrics/detailed
      params: { family: [{{ . }}] }
      interval: 30s
      {{- include "common.scrapeRelabelings" $ | nindent 6 }}
    {{- end }}
{{- end -}}

{{/* The labels, besides namespace, that rules and dashboards select by. */}}
{{- define "common.scrapeRelabelings" -}}
relabelings:
  - { targetLabel: platform, replacement: {{ include "common.platform" .root | quote }} }
  - { targetLabel: component, replacement: {{ include "common.component" .root }} }
{{- end -}}
