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

{{- /* What the operator does with objects in namespaces: resources.py says the same, and a test holds them together. */ -}}
{{- define "embedding-operator.rules" -}}
- apiGroups: [serving.embeddings.dev]
  resources: [embeddingservices, storagecontainers]
  verbs: [get, list, watch]
- apiGroups: [serving.embeddings.dev]
  resources: [embeddingservices/status, storagecontainers/status]
  verbs: [update]
- apiGroups: [apps]
  resources: [deployments]
  verbs: [get, list, watch, create, update, patch, delete]
- apiGroups: [""]
  resources: [services]
  verbs: [get, list, watch, create, update, patch, delete]
- apiGroups: [""]
  resources: [pods]
  verbs: [list, watch]
- apiGroups: [""]
  resources: [secrets] # those that services and storage containers name, one by one; never listed
  verbs: [get]
- apiGroups: [""]
  resources: [events]
  verbs: [create]
{{- end -}}

{{- define "embedding-operator.subject" -}}
- kind: ServiceAccount
  name: {{ include "embedding-operator.name" . }}
  namespace: {{ .Release.Namespace }}
{{- end -}}
