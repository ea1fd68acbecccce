{{- define "backup.selectorLabels" -}}
app.kubernetes.io/name: backup
app.kubernetes.io/instance: {{ .Release.Name | quote }}
app.kubernetes.io/component: backup
{{- end -}}

{{- define "backup.labels" -}}
{{ include "backup.selectorLabels" . }}
app.kubernetes.io/version: {{ .Values.image.tag | default .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service | quote }}
{{- end -}}

{{/* Refuses values without which no backup could be made, or with two destinations. */}}
{{- define "backup.validate" -}}
{{- $s3 := .Values.destination.s3 -}}
{{- if not .Values.keySecret -}}
{{- fail "keySecret is empty: name a Secret with BACKUP_KEY, as `openssl rand -base64 32` prints it" -}}
{{- end -}}
{{- if eq (empty $s3.bucket) (empty .Values.destination.volume.claim) -}}
{{- fail "destination: set exactly one of s3.bucket and volume.claim" -}}
{{- end -}}
{{- $command := first .Values.job | default "create" -}}
{{- if and .Values.backupsOf (has $command (list "create" "prune")) -}}
{{- $commands := "set job to list, verify, check or restore" -}}
{{- fail (printf "backupsOf is another shop's, whose backups %s would write or delete: %s" $command $commands) -}}
{{- end -}}
{{- if and $s3.bucket (not $s3.secret) -}}
{{- $keys := "BACKUP_S3_ACCESS_KEY_ID and BACKUP_S3_SECRET_ACCESS_KEY" -}}
{{- fail (printf "destination.s3.secret is empty: name a Secret with %s" $keys) -}}
{{- end -}}
{{- end -}}

{{- define "backup.image" -}}
{{ with .Values.image.registry }}{{ . }}/{{ end }}ecommerce/backup:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end -}}

{{/* The port of the bucket's server. */}}
{{- define "backup.s3Port" -}}
{{- $endpoint := .Values.destination.s3.endpoint -}}
{{- $default := ternary 80 443 (hasPrefix "http://" $endpoint) -}}
{{- regexFind ":[0-9]+$" (urlParse $endpoint).host | trimPrefix ":" | default $default -}}
{{- end -}}

{{/* The spec of the Job that runs one command. Takes root, arguments and retries. */}}
{{- define "backup.jobSpec" -}}
{{- $root := .root -}}
{{- $values := .root.Values -}}
{{- $verifies := eq (first .arguments) "verify" -}}
backoffLimit: {{ .retries }}
activeDeadlineSeconds: {{ $values.deadlineSeconds }}
template:
  metadata:
    labels:
      {{- include "backup.labels" $root | nindent 6 }}
  spec:
    restartPolicy: Never
    automountServiceAccountToken: false
    enableServiceLinks: false
    {{- with $values.image.pullSecrets }}
    imagePullSecrets:
      {{- range . }}
      - name: {{ . | quote }}
      {{- end }}
    {{- end }}
    securityContext:
      runAsNonRoot: true
      seccompProfile: { type: RuntimeDefault }
      {{- if ne $values.pods.userIds "Assigned" }}
      runAsUser: 10001
      runAsGroup: 10001
      fsGroup: 10001
      fsGroupChangePolicy: OnRootMismatch
      {{- end }}
    containers:
      - name: backup
        image: {{ include "backup.image" $root }}
        imagePullPolicy: {{ $values.image.pullPolicy }}
        args: {{ toJson .arguments }}
        env:
          {{- include "backup.env" $root | trim | nindent 10 }}
        resources:
          {{- toYaml (ternary $values.verification.resources $values.resources $verifies) | nindent 10 }}
        securityContext:
          allowPrivilegeEscalation: false
          readOnlyRootFilesystem: true
          capabilities: { drop: [ALL] }
        volumeMounts:
          - { name: tmp, mountPath: /tmp }
          {{- if $verifies }}
          - { name: scratch, mountPath: /scratch }
          {{- end }}
          {{- range $values.services }}
          - { name: {{ . }}-db, mountPath: /databases/{{ . }}, readOnly: true }
          - { name: {{ . }}-db-runtime, mountPath: /runtime-roles/{{ . }}, readOnly: true }
          {{- end }}
          {{- if $values.destination.volume.claim }}
          - { name: backups, mountPath: /backups }
          {{- end }}
    volumes:
      - { name: tmp, emptyDir: { sizeLimit: 64Mi } }
      {{- if $verifies }}
      - { name: scratch, emptyDir: { sizeLimit: {{ $values.verification.scratchSize | quote }} } }
      {{- end }}
      {{- range $values.services }}
      {{- $name := printf "%s-%s-db" $values.shop . }}
      {{- $runtime := printf "%s-runtime" $name }}
      - name: {{ . }}-db
        secret: { secretName: {{ get $values.databaseSecrets . | default $name | quote }} }
      - name: {{ . }}-db-runtime
        secret: { secretName: {{ get $values.runtimeSecrets . | default $runtime | quote }}, optional: true }
      {{- end }}
      {{- with $values.destination.volume.claim }}
      - name: backups
        persistentVolumeClaim: { claimName: {{ . | quote }} }
      {{- end }}
{{- end -}}

{{- define "backup.env" -}}
{{- $s3 := .Values.destination.s3 -}}
- name: BACKUP_SHOP
  value: {{ .Values.backupsOf | default (printf "%s/%s" .Release.Namespace .Values.shop) | quote }}
- name: BACKUP_SHOP_UID
  value: {{ .Values.shopUid | quote }}
- name: BACKUP_SHOP_CREATED
  value: {{ .Values.shopCreated | quote }}
- name: TENANT
  value: {{ .Values.shop | quote }}
- name: BACKUP_KEEP
  value: {{ .Values.retention.count | int64 | quote }}
- name: BACKUP_KEEP_DAYS
  value: {{ .Values.retention.days | int64 | quote }}
- name: BACKUP_KEY
  valueFrom: { secretKeyRef: { name: {{ .Values.keySecret | quote }}, key: BACKUP_KEY } }
{{- if $s3.bucket }}
- name: BACKUP_DESTINATION
  value: {{ printf "s3://%s/%s" $s3.bucket $s3.prefix | trimSuffix "/" | quote }}
- name: BACKUP_S3_ENDPOINT
  value: {{ $s3.endpoint | quote }}
- name: BACKUP_S3_REGION
  value: {{ $s3.region | quote }}
{{- range $key := list "BACKUP_S3_ACCESS_KEY_ID" "BACKUP_S3_SECRET_ACCESS_KEY" }}
- name: {{ $key }}
  valueFrom: { secretKeyRef: { name: {{ $s3.secret | quote }}, key: {{ $key }} } }
{{- end }}
- name: BACKUP_S3_CA
  valueFrom: { secretKeyRef: { name: {{ $s3.secret | quote }}, key: BACKUP_S3_CA, optional: true } }
{{- else }}
- name: BACKUP_DESTINATION
  value: file:///backups
{{- end }}
{{- end -}}
