{{/*
A failed migration: the Job retries it (backoffLimit) until its deadline. Then the operator reports
Degraded=MigrationFailed and applies nothing that comes after it, and the pods of the previous release keep serving. It
runs the Job again with growing delays. See MigrationFailed in docs/operations.md.
*/}}

{{/*
The Job that migrates the database. Its name contains a hash of its content, because a Job cannot be changed and the
same migration need not run again. The release's own name is left out of it: the operator renders once for all shops
with equal values, and fills in their names (docs/adr/0053).
*/}}
{{- define "common.migrationJob" -}}
{{- $spec := include "common.migrationSpec" . -}}
apiVersion: batch/v1
kind: Job
metadata:
  {{- $unnamed := $spec | replace (include "common.platform" .) "<platform>" }}
  {{- $name := printf "%s-migrate-%s" (include "common.fullname" .) (sha256sum $unnamed | trunc 8) }}
  {{- include "common.metadata" (dict "root" . "name" $name "wave" 2) | nindent 2 }}
spec:
  {{- $spec | nindent 2 }}
{{- end -}}

{{- define "common.migrationSpec" -}}
{{- $component := printf "%s-migrate" (include "common.component" .) -}}
backoffLimit: 6
{{- /* 65: the database had a schema and is empty (chassis.runtime.command). A retry does not bring its data back. */}}
podFailurePolicy:
  rules:
    - action: FailJob
      onExitCodes: { containerName: migrate, operator: In, values: [65] }
activeDeadlineSeconds: 600
template:
  metadata:
    labels:
      {{- /* A separate component, so that no Service selects this pod. */}}
      {{- include "common.podLabels" (dict "root" . "component" $component) | nindent 6 }}
      {{- with include "common.extraMetadata" (dict "root" . "part" "pods" "field" "labels") }}
      {{- trim . | nindent 6 }}
      {{- end }}
    {{- /* Each step of a rotation is a Job of its own. */}}
    {{- $own := dict }}
    {{- $generations := list }}
    {{- with .Values.migration.rotation }}
    {{- $generations = append $generations (printf "%v %s" .generation .step) }}
    {{- end }}
    {{- with .Values.migration.ownerRotation }}
    {{- $generations = append $generations (printf "owner %v" .generation) }}
    {{- end }}
    {{- with $generations }}
    {{- $_ := set $own "platform.ecommerce.dev/generation" (join ", " .) }}
    {{- end }}
    {{- with include "common.podAnnotations" (dict "root" . "own" $own) }}
    {{- trim . | nindent 4 }}
    {{- end }}
  spec:
    {{- include "common.podSecurity" (dict "root" . "uid" 10001) | trim | nindent 4 }}
    {{- with include "common.podScheduling" . }}
    {{- trim . | nindent 4 }}
    {{- end }}
    restartPolicy: Never
    containers:
      - name: migrate
        {{- include "common.containerImage" . | nindent 8 }}
        args: [migrate]
        env:
          {{- include "common.migrationEnv" . | trim | nindent 10 }}
        resources:
          {{- toYaml .Values.migration.resources | nindent 10 }}
        {{- include "common.containerSecurity" . | nindent 8 }}
        volumeMounts:
          - { name: tmp, mountPath: /tmp }
    volumes:
      - { name: tmp, emptyDir: { sizeLimit: 64Mi } }
{{- end -}}

{{/*
The environment of a migration: its database, with the owner and the runtime role, and nothing that changes more often
than the schema. While the runtime role is rotated (docs/adr/0046), the migration creates the next role before pods use
it, and at last takes the login from the former one. While the owner's password is replaced (docs/adr/0064), the
migration has the former one too. That key is required: a node that still has the Secret of the step before waits.
*/}}
{{- define "common.migrationEnv" -}}
{{- $database := include "common.databaseOwner" . | fromYaml -}}
- name: LOG_LEVEL
  value: {{ ((.Values.global).logLevel | default "INFO") | quote }}
- name: TENANT
  value: {{ include "common.platform" . | quote }}
{{- /* The operator records here that a migration has completed: docs/adr/0047. */}}
- name: DB_MIGRATED_AT
  valueFrom:
    configMapKeyRef:
      name: {{ include "common.platform" . }}-databases
      key: {{ include "common.component" . }}
      optional: true
{{- range $database.keys }}
- name: {{ . }}
  valueFrom: { secretKeyRef: { name: {{ $database.secret | quote }}, key: {{ . }} } }
{{- end }}
{{- range $database.optionalKeys }}
- name: {{ . }}
  valueFrom: { secretKeyRef: { name: {{ $database.secret | quote }}, key: {{ . }}, optional: true } }
{{- end }}
{{- if (.Values.migration.ownerRotation).replaces }}
- name: DB_PREVIOUS_PASSWORD
  valueFrom: { secretKeyRef: { name: {{ $database.secret | quote }}, key: DB_PREVIOUS_PASSWORD } }
{{- end }}
{{- $rotation := .Values.migration.rotation | default (dict "step" "") -}}
{{- $prefix := ternary "DB_NEXT" "DB" (eq $rotation.step "Publish") -}}
{{- with include "common.runtimeSecret" . }}
- name: DB_RUNTIME_USER
  valueFrom: { secretKeyRef: { name: {{ . | quote }}, key: {{ $prefix }}_USER } }
- name: DB_RUNTIME_PASSWORD
  valueFrom: { secretKeyRef: { name: {{ . | quote }}, key: {{ $prefix }}_PASSWORD } }
{{- if eq $rotation.step "Retire" }}
- name: DB_RUNTIME_RETIRED_USER
  valueFrom: { secretKeyRef: { name: {{ . | quote }}, key: DB_RETIRED_USER, optional: true } }
{{- end }}
{{- end }}
{{- end -}}
