{{/*
The secrets of the gRPC calls of a service, as `common.credentials` returns them: GRPC_TOKENS has its token for each
neighbour, GRPC_CALLERS the digests of its callers' tokens. All are derived from global.grpc.secret, so that the charts
of a shop agree; docs/adr/0027 says how they are rotated.
*/}}
{{- define "common.grpcCredential" -}}
{{- $global := (.Values.global).grpc | default dict -}}
{{- $self := include "common.component" . -}}
{{- $tokens := list -}}
{{- range $name, $port := .Values.neighbours -}}
{{- $token := include "common.grpcToken" (dict "secret" $global.secret "caller" $self "callee" $name) -}}
{{- $tokens = append $tokens (printf "%s=%s" $name $token) -}}
{{- end -}}
{{- $digests := list -}}
{{- range $secret := list $global.secret $global.nextSecret | compact -}}
{{- range $name := $.Values.callers -}}
{{- $token := include "common.grpcToken" (dict "secret" $secret "caller" $name "callee" $self) -}}
{{- $digests = append $digests (printf "%s=%s" $name (sha256sum $token)) -}}
{{- end -}}
{{- end -}}
{{- $content := dict -}}
{{- if .Values.neighbours -}}{{- $_ := set $content "GRPC_TOKENS" (join "," $tokens) -}}{{- end -}}
{{- if .Values.callers -}}{{- $_ := set $content "GRPC_CALLERS" (join "," $digests) -}}{{- end -}}
{{- $existing := .Values.grpc.existingSecret -}}
{{- $credential := dict
  "root" .
  "path" "grpc"
  "values" (dict "existingSecret" $existing "secret" (ternary "" $global.secret (not (empty $existing))))
  "field" "secret"
  "fieldPath" "global.grpc.secret"
  "minLength" 32
  "createdSecret" (printf "%s-grpc" (include "common.fullname" .))
  "content" $content
-}}
{{- if $content }}
grpc:
  {{- include "common.credential" $credential | nindent 2 }}
{{- end }}
{{- end -}}

{{/* The token that a service shows to another one. Takes secret, caller and callee. */}}
{{- define "common.grpcToken" -}}
{{- printf "%s/%s/%s" .secret .caller .callee | sha256sum -}}
{{- end -}}
