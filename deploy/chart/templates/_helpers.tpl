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

{{- define "heddle.agent.config" -}}
cluster: {{ .Values.cluster }}
trustDomain: {{ .Values.trustDomain }}
rootNamespace: {{ .Release.Namespace }}
source:
  kubernetes: {}
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
root:
  secret: {namespace: {{ .Release.Namespace }}, name: heddle-ca}
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
log:
  format: json
{{- end }}
