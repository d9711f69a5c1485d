{{/* Ports of the roles, as the settings have them. */}}
{{- define "execstream.port" -}}
{{ get (dict "server" 8686 "tally" 8687 "apply" 8688 "bridge" 8689) . }}
{{- end }}

{{- define "execstream.name" -}}
{{ printf "%s-%s" (.Release.Name | trunc 43 | trimSuffix "-") .role }}
{{- end }}

{{- define "execstream.selector" -}}
app.kubernetes.io/name: execstream
app.kubernetes.io/instance: {{ .Release.Name }}
{{- if .role }}
app.kubernetes.io/component: {{ .role }}
{{- end }}
{{- end }}

{{- define "execstream.labels" -}}
{{ include "execstream.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end }}

{{- define "execstream.image" -}}
{{- with .Values.image -}}
{{- if .digest -}}
{{ .repository }}@{{ .digest }}
{{- else -}}
{{ .repository }}:{{ .tag | default $.Chart.AppVersion }}
{{- end }}
{{- end }}
{{- end }}

{{/* Settings of all roles and of one, in the order of their names. */}}
{{- define "execstream.env" -}}
{{- $settings := merge (dict) (.own | default dict) .Values.settings (dict "LOG_FORMAT" "json") }}
{{- range $name, $value := $settings }}
- name: EXECSTREAM_{{ $name }}
  value: {{ $value | toString | quote }}
{{- end }}
{{- end }}

{{/* Of every container: no rights, nothing to write but /tmp. */}}
{{- define "execstream.confined" -}}
image: {{ include "execstream.image" . | quote }}
imagePullPolicy: {{ .Values.image.pullPolicy }}
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities: {drop: [ALL]}
volumeMounts: [{name: tmp, mountPath: /tmp}]
{{- end }}

{{- define "execstream.pod" -}}
serviceAccountName: {{ .account | default .Release.Name }}
automountServiceAccountToken: false
enableServiceLinks: false
securityContext:
  runAsNonRoot: true
  runAsUser: 10001
  runAsGroup: 10001
  fsGroup: 10001
  seccompProfile: {type: RuntimeDefault}
volumes: [{name: tmp, emptyDir: {}}]
{{- with .Values.image.pullSecrets }}
imagePullSecrets:
  {{- range . }}
  - name: {{ . | quote }}
  {{- end }}
{{- end }}
{{- with .Values.nodeSelector }}
nodeSelector: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.tolerations }}
tolerations: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.affinity }}
affinity: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.priorityClassName }}
priorityClassName: {{ . | quote }}
{{- end }}
{{- end }}

{{/* A pod that stands still is restarted; one that waits for a server is not. */}}
{{- define "execstream.probes" -}}
ports: [{name: http, containerPort: {{ include "execstream.port" .role }}}]
startupProbe:
  httpGet: {path: /livez, port: http}
  periodSeconds: 2
  failureThreshold: 30
livenessProbe:
  httpGet: {path: /livez, port: http}
  periodSeconds: 10
  timeoutSeconds: 5
  failureThreshold: 3
readinessProbe:
  httpGet: {path: /readyz, port: http}
  periodSeconds: 5
  timeoutSeconds: 5
{{- end }}
