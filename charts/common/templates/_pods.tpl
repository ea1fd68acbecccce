{{/* The part of a pod spec that the restricted Pod Security level requires. Takes root and uid. */}}
{{- define "common.podSecurity" -}}
{{- with ((.root.Values.global).image).pullSecrets }}
imagePullSecrets:
  {{- range . }}
  - name: {{ . | quote }}
  {{- end }}
{{- end }}
serviceAccountName: {{ include "common.fullname" .root }}
automountServiceAccountToken: false
enableServiceLinks: false
securityContext:
  {{- include "common.podSecurityContext" . | nindent 2 }}
{{- end -}}

{{/* Where a pod may run, and its priority, as the values give them for all pods. Empty without such values. */}}
{{- define "common.podScheduling" -}}
{{- $pods := (.Values.global).pods | default dict -}}
{{- range $name := list "affinity" "nodeSelector" "priorityClassName" "tolerations" }}
{{- with get $pods $name }}
{{ $name }}: {{ toJson . }}
{{- end }}
{{- end }}
{{- end -}}

{{/*
The annotations of a pod: those of the values for all pods, and its own. Empty without any. Takes root, and own, a map.
*/}}
{{- define "common.podAnnotations" -}}
{{- $shared := include "common.extraMetadata" (dict "root" .root "part" "pods" "field" "annotations") | fromYaml -}}
{{- with merge (dict) (.own | default dict) $shared -}}
annotations:
  {{- toYaml . | nindent 2 }}
{{- end -}}
{{- end -}}

{{- define "common.podSecurityContext" -}}
{{- $pods := (.root.Values.global).pods | default dict -}}
{{- $context := dict
  "runAsNonRoot" true
  "fsGroupChangePolicy" "OnRootMismatch"
  "seccompProfile" (dict "type" "RuntimeDefault")
-}}
{{- if ne $pods.userIds "Assigned" -}}
{{- $context = merge $context (dict "runAsUser" .uid "runAsGroup" .uid "fsGroup" .uid) -}}
{{- end -}}
{{- mergeOverwrite $context (deepCopy ($pods.securityContext | default dict)) | toYaml -}}
{{- end -}}

{{- define "common.containerSecurity" -}}
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities: { drop: [ALL] }
{{- end -}}

{{/* The image and pull policy of a container. */}}
{{- define "common.containerImage" -}}
image: {{ include "common.image" . }}
imagePullPolicy: {{ ((.Values.global).image).pullPolicy | default "IfNotPresent" }}
{{- end -}}

{{/* The ports of a container. Takes a map of names to port numbers. */}}
{{- define "common.containerPorts" -}}
{{- range $name, $port := . }}
- { name: {{ $name }}, containerPort: {{ $port }}, protocol: TCP }
{{- end }}
{{- end -}}

{{/* How the pods of a service are spread: as the values say for each of them, else over nodes. */}}
{{- define "common.topologySpread" -}}
{{- $default := dict "maxSkew" 1 "topologyKey" "kubernetes.io/hostname" "whenUnsatisfiable" "ScheduleAnyway" -}}
{{- $selector := dict "matchLabels" (include "common.selectorLabels" (dict "root" .) | fromYaml) -}}
topologySpreadConstraints:
{{- range ((.Values.global).pods).topologySpreadConstraints | default (list $default) }}
  - {{ merge (dict "labelSelector" $selector) . | toJson }}
{{- end }}
{{- end -}}

{{/* A quantity of memory in whole MiB, from which the limits in a store's own configuration are derived. */}}
{{- define "common.mebibytes" -}}
{{- $units := dict
  "" 0.00000095367431640625
  "k" 0.00095367431640625
  "Ki" 0.0009765625
  "M" 0.95367431640625
  "Mi" 1.0
  "G" 953.67431640625
  "Gi" 1024.0
  "T" 953674.31640625
  "Ti" 1048576.0
-}}
{{- $number := regexFind "^[0-9.]+" (toString .) -}}
{{- $unit := trimPrefix $number (toString .) -}}
{{- if or (not $number) (not (hasKey $units $unit)) -}}
{{- fail (printf "resources.limits.memory: %q is not a quantity of memory: use one like 256Mi or 1Gi" (toString .)) -}}
{{- end -}}
{{- mulf (float64 $number) (get $units $unit) | floor | int -}}
{{- end -}}
