{{- define "embedding-operator.name" -}}
{{- $name := .Release.Name -}}
{{- if not (contains .Chart.Name $name) -}}
{{- $name = printf "%s-%s" $name .Chart.Name -}}
{{- end -}}
{{- $name | trunc 53 | trimSuffix "-" -}}
{{- end -}}

{{- define "embedding-operator.selector" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "embedding-operator.labels" -}}
{{ include "embedding-operator.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version }}
{{- end -}}

{{- /* Of objects without a namespace, so that releases of one name in two namespaces are apart. No namespace has a dot. */ -}}
{{- define "embedding-operator.clusterName" -}}
{{ .Release.Namespace }}.{{ include "embedding-operator.name" . }}
{{- end -}}

{{- define "embedding-operator.subject" -}}
- kind: ServiceAccount
  name: {{ include "embedding-operator.name" . }}
  namespace: {{ .Release.Namespace }}
{{- end -}}
