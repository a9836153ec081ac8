{{- define "heddle.image" -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end }}

{{- define "heddle.agent.labels" -}}
app.kubernetes.io/name: heddle
app.kubernetes.io/part-of: heddle
{{- end }}

{{- define "heddle.ca.labels" -}}
app.kubernetes.io/name: heddle-ca
app.kubernetes.io/part-of: heddle
{{- end }}

{{- define "heddle.nodes" -}}
{{- $labels := list }}
{{- range $key, $value := .Values.agent.nodeSelector }}
{{- $labels = append $labels (printf "%s=%s" $key $value) }}
{{- end }}
{{- join "," $labels }}
{{- end }}

{{- define "heddle.agent.config" -}}
{{- if and (not .Values.ca.enabled) (not (hasKey .Values.agent.config "ca")) }}
{{- fail "ca.enabled is false: say under agent.config.ca who signs, or each agent would have a root of its own" }}
{{- end }}
cluster: {{ .Values.cluster }}
trustDomain: {{ .Values.trustDomain }}
rootNamespace: {{ .Release.Namespace }}
{{- if not (hasKey .Values.agent.config "source") }}
source:
  kubernetes: {}
{{- end }}
{{- if .Values.ca.enabled }}
ca:
  remote:
    address: https://heddle-ca.{{ .Release.Namespace }}.svc:15012
    roots: /etc/heddle-roots/root-cert.pem
    token: /var/run/secrets/heddle/token
{{- end }}
mtls:
  mode: {{ .Values.mtls.mode }}
capture:
  cgroup: /host/sys/fs/cgroup
  pins: /sys/fs/bpf/heddle
  proc: /host/proc
admin:
  socket: /run/heddle/admin.sock
handover:
  socket: /host/run/heddle/handover.sock
log:
  format: json
{{- end }}

{{- define "heddle.ca.config" -}}
trustDomain: {{ .Values.trustDomain }}
{{- if not (dig "root" "files" nil .Values.ca.config) }}
root:
  secret: {namespace: {{ .Release.Namespace }}, name: heddle-ca}
{{- end }}
publish:
  configMap: {namespace: {{ .Release.Namespace }}, name: heddle-roots}
tokens:
  audience: heddle-ca
  trustedServiceAccounts: [{{ .Release.Namespace }}/heddle-agent]
kubernetes: {}
server:
  dnsNames:
  - heddle-ca.{{ .Release.Namespace }}.svc
  - heddle-ca.{{ .Release.Namespace }}.svc.cluster.local
{{- if .Values.webhook.enabled }}
admission:
  listen: 0.0.0.0:15017
  webhook: heddle
  rootNamespace: {{ .Release.Namespace }}
{{- end }}
taintNodes: {{ .Values.taintNodes }}
agents:
  namespace: {{ .Release.Namespace }}
  selector: app.kubernetes.io/name=heddle
  nodeSelector: {{ include "heddle.nodes" . }}
log:
  format: json
{{- end }}
