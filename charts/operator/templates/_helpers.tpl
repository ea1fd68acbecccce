{{- define "operator.labels" -}}
{{ include "operator.selectorLabels" . }}
app.kubernetes.io/part-of: ecommerce
app.kubernetes.io/version: {{ .Values.image.tag | default .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service | quote }}
{{- end -}}

{{- define "operator.selectorLabels" -}}
app.kubernetes.io/name: ecommerce-operator
app.kubernetes.io/instance: {{ .Release.Name | quote }}
app.kubernetes.io/component: operator
{{- end -}}

{{/* What reconciling a namespace's platforms takes. Every rule says what its verbs are for; reads come from watches, so `get` is rare. */}}
{{- define "operator.rules" -}}
# list, watch: learn of platforms and of changes to them
- apiGroups: [platform.ecommerce.dev]
  resources: [ecommerceplatforms]
  verbs: [list, watch]
# patch: say in status what is true
- apiGroups: [platform.ecommerce.dev]
  resources: [ecommerceplatforms/status]
  verbs: [patch]
# update: own children with blockOwnerDeletion where OwnerReferencesPermissionEnforcement is on; nothing is ever sent
- apiGroups: [platform.ecommerce.dev]
  resources: [ecommerceplatforms/finalizers]
  verbs: [update]
# list, watch: see what there is, and drift (server-side filtered by label); patch, create: server-side apply, which needs
# both; delete: prune what the spec no longer wants
- apiGroups: [""]
  resources: [configmaps, services, serviceaccounts]
  verbs: [list, watch, create, patch, delete]
- apiGroups: [apps]
  resources: [deployments, statefulsets]
  verbs: [list, watch, create, patch, delete]
- apiGroups: [autoscaling]
  resources: [horizontalpodautoscalers]
  verbs: [list, watch, create, patch, delete]
- apiGroups: [batch]
  resources: [jobs]
  verbs: [list, watch, create, patch, delete]
- apiGroups: [networking.k8s.io]
  resources: [ingresses, networkpolicies]
  verbs: [list, watch, create, patch, delete]
- apiGroups: [policy]
  resources: [poddisruptionbudgets]
  verbs: [list, watch, create, patch, delete]
# as above, where those add-ons are installed
- apiGroups: [gateway.networking.k8s.io]
  resources: [httproutes]
  verbs: [list, watch, create, patch, delete]
- apiGroups: [monitoring.coreos.com]
  resources: [servicemonitors, prometheusrules]
  verbs: [list, watch, create, patch, delete]
# as above for credentials; get: look whether somebody else's Secret bears the name before making one. RBAC cannot narrow
# list and watch by label: the operator asks for its own label only, but could ask for more. watchNamespaces bounds that.
- apiGroups: [""]
  resources: [secrets]
  verbs: [get, list, watch, create, patch, delete]
# list: say in Degraded what ails the pods of a part that does not come up; only then, and only that part's (by label)
- apiGroups: [""]
  resources: [pods]
  verbs: [list]
# create: tell of transitions where `kubectl describe` shows them
- apiGroups: [""]
  resources: [events]
  verbs: [create]
{{- end -}}
