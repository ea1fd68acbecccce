{{- define "operator.labels" -}}
{{ include "operator.selectorLabels" . }}
app.kubernetes.io/part-of: ecommerce
app.kubernetes.io/version: {{ .Values.image.tag | default .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service | quote }}
{{- with include "operator.extraMetadata" (dict "root" . "part" "objects" "field" "labels") }}
{{ trim . }}
{{- end }}
{{- end -}}

{{/* The annotations and labels of an object. The labels come last, so that an object may add its own. */}}
{{- define "operator.metadata" -}}
{{- with include "operator.extraMetadata" (dict "root" . "part" "objects" "field" "annotations") -}}
annotations:
  {{- trim . | nindent 2 }}
{{ end -}}
labels:
  {{- include "operator.labels" . | nindent 2 }}
{{- end -}}

{{/*
The labels or annotations that the values add to every object or every pod. Refuses labels by which Kubernetes and this
chart find objects. Takes root; part: objects or pods; field: labels or annotations.
*/}}
{{- define "operator.extraMetadata" -}}
{{- $reserved := dict
  "labels" "^(([^/]+[.])?(kubernetes|k8s)[.]io|platform[.]ecommerce[.]dev)/|-hash$|^controller-uid$|^job-name$"
  "annotations" "^(platform[.]ecommerce[.]dev|kubectl[.]kubernetes[.]io)/"
-}}
{{- range $name, $value := get (get .root.Values .part) .field | default dict }}
{{- if regexMatch (get $reserved $.field) $name }}
{{- fail (printf "%s.%s: %s is set by this chart or by Kubernetes: use a name of your own" $.part $.field $name) }}
{{- end }}
{{ $name | quote }}: {{ $value | quote }}
{{- end }}
{{- end -}}

{{- define "operator.selectorLabels" -}}
app.kubernetes.io/name: ecommerce-operator
app.kubernetes.io/instance: {{ .Release.Name | quote }}
app.kubernetes.io/component: operator
{{- end -}}

{{/* The labels by which the pods of a shard are found. Takes root, index. */}}
{{- define "operator.shardLabels" -}}
{{ include "operator.selectorLabels" .root }}
{{- if gt (int .root.Values.shards) 1 }}
platform.ecommerce.dev/shard: {{ .index | quote }}
{{- end }}
{{- end -}}

{{/* The rights that reconciling the platforms of a namespace needs, with the reason for each verb. Reads come from
watches, so `get` is rare. */}}
{{- define "operator.rules" -}}
# list, watch: observe platforms; get: read one again whose write was refused as out of date; patch: set and remove the
# operator's finalizer, and the annotation of a restore
- apiGroups: [platform.ecommerce.dev]
  resources: [ecommerceplatforms]
  verbs: [get, list, watch, patch]
# patch: write the status
- apiGroups: [platform.ecommerce.dev]
  resources: [ecommerceplatforms/status]
  verbs: [patch]
# list, watch: observe what is to be backed up and restored
- apiGroups: [platform.ecommerce.dev]
  resources: [platformbackups, platformrestores]
  verbs: [list, watch]
# patch: write the status
- apiGroups: [platform.ecommerce.dev]
  resources: [platformbackups/status, platformrestores/status]
  verbs: [patch]
# update: required for owner references with blockOwnerDeletion if OwnerReferencesPermissionEnforcement is enabled; no
# request uses it
- apiGroups: [platform.ecommerce.dev]
  resources: [ecommerceplatforms/finalizers, platformbackups/finalizers, platformrestores/finalizers]
  verbs: [update]
# list, watch: observe children and drift (filtered by label on the server); get: see whether an object of another has
# the name, before creating one; patch, create: server-side apply needs both; delete: prune what the spec no longer
# needs
- apiGroups: [""]
  resources: [configmaps, services, serviceaccounts]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [apps]
  resources: [deployments, statefulsets, controllerrevisions]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [autoscaling]
  resources: [horizontalpodautoscalers]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [batch]
  resources: [jobs, cronjobs]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [networking.k8s.io]
  resources: [ingresses, networkpolicies]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [policy]
  resources: [poddisruptionbudgets]
  verbs: [get, list, watch, create, patch, delete]
# as above, if these add-ons are installed
- apiGroups: [gateway.networking.k8s.io]
  resources: [httproutes]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [monitoring.coreos.com]
  resources: [servicemonitors, prometheusrules]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [postgresql.cnpg.io]
  resources: [clusters]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [rabbitmq.com]
  resources: [rabbitmqclusters]
  verbs: [get, list, watch, create, patch, delete]
# as above for credentials. RBAC cannot restrict list and watch to a label: the operator reads only Secrets with its own
# label, but has the right to read all. watchNamespaces limits that.
- apiGroups: [""]
  resources: [secrets]
  verbs: [get, list, watch, create, patch, delete]
# list: diagnose pods in condition Degraded, only of a part that does not become ready, and read what pods of backups
# report; selected by label
- apiGroups: [""]
  resources: [pods]
  verbs: [list]
# get: see whether the volume of a backup exists, before a shop is closed for its restore; list: find volumes of builtin
# stores that a Cluster would leave; delete: delete those of a platform that is deleted with deletionPolicy Delete; the
# latter two selected by label
- apiGroups: [""]
  resources: [persistentvolumeclaims]
  verbs: [get, list, delete]
# create: report transitions, repairs, and the progress of backups and restores as Events, which `kubectl describe`
# shows; list: read why an object that is not ready has no pods, such as an exceeded quota
- apiGroups: [""]
  resources: [events]
  verbs: [create, list]
{{- end -}}
