{{- /* Name of everything of this release; parts are appended. */ -}}
{{- define "continuum.name" -}}
{{- if contains "continuum" .Release.Name -}}{{ .Release.Name | trunc 40 | trimSuffix "-" }}
{{- else -}}{{ printf "%s-continuum" .Release.Name | trunc 40 | trimSuffix "-" }}{{- end -}}
{{- end -}}

{{- /* What a part's pods are found by. Takes [root, part]. */ -}}
{{- define "continuum.selector" -}}
{{- $root := index . 0 -}}
app.kubernetes.io/name: continuum
app.kubernetes.io/instance: {{ $root.Release.Name }}
app.kubernetes.io/component: {{ index . 1 }}
{{- end -}}

{{- /* Labels of every object. Takes [root, part]. */ -}}
{{- define "continuum.labels" -}}
{{- $root := index . 0 -}}
{{ include "continuum.selector" . }}
app.kubernetes.io/version: {{ $root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ $root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" $root.Chart.Name $root.Chart.Version | replace "+" "_" }}
{{- end -}}

{{- /* Name and labels of an object. Takes [root, part, name]. */ -}}
{{- define "continuum.metadata" -}}
name: {{ index . 2 }}
namespace: {{ (index . 0).Release.Namespace }}
labels:
  {{- include "continuum.labels" . | nindent 2 }}
{{- end -}}

{{- define "continuum.image" -}}
{{- with .Values.image -}}
{{- if .digest -}}{{ .repository }}@{{ .digest }}
{{- else -}}{{ .repository }}:{{ .tag | default $.Chart.AppVersion }}{{- end -}}
{{- end -}}
{{- end -}}

{{- /* Name of a party's Secret. Takes [root, role, name]. */ -}}
{{- define "continuum.tlsSecret" -}}
{{- $root := index . 0 -}}
{{ $root.Values.tls.secretPrefix | default (include "continuum.name" $root) }}-{{ index . 1 }}-{{ index . 2 }}
{{- end -}}

{{- /* What every pod has: restricted security, and where it may run. Takes [root, part]. */ -}}
{{- define "continuum.pod" -}}
{{- $root := index . 0 -}}
{{- with $root.Values.image.pullSecrets }}
imagePullSecrets:
  {{- range . }}
- name: {{ . }}
  {{- end }}
{{- end }}
{{- with $root.Values.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- with $root.Values.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $root.Values.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
# One node's loss takes one pod, one zone's loss as few as can be.
topologySpreadConstraints:
{{- range list "kubernetes.io/hostname" "topology.kubernetes.io/zone" }}
- maxSkew: 1
  topologyKey: {{ . }}
  whenUnsatisfiable: ScheduleAnyway
  labelSelector:
    matchLabels:
      {{- include "continuum.selector" (list $root (index $ 1)) | nindent 6 }}
{{- end }}
enableServiceLinks: false
securityContext:
  runAsNonRoot: true
  runAsUser: 65532
  runAsGroup: 65532
  # Volumes and the certificates' files are readable by this group.
  fsGroup: 65532
  fsGroupChangePolicy: OnRootMismatch
  seccompProfile:
    type: RuntimeDefault
{{- end -}}

{{- /* What every container has. */ -}}
{{- define "continuum.container" -}}
image: {{ include "continuum.image" . }}
imagePullPolicy: {{ .Values.image.pullPolicy }}
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities:
    drop: [ALL]
{{- end -}}

{{- /* Volumes of the Secrets that a part's configuration names, and where they are mounted: whole directories, which Kubernetes
keeps up to date. */ -}}
{{- define "continuum.secretVolumes" -}}
{{- range . }}
{{- $name := kindIs "string" . | ternary . (get (kindIs "map" . | ternary . dict) "name") }}
- name: secret-{{ $name }}
  secret:
    secretName: {{ $name }}
    defaultMode: 288 # 0440
    {{- if kindIs "map" . }}
    items:
    {{- range .keys }}
    - { key: {{ . | quote }}, path: {{ . | quote }} }
    {{- end }}
    {{- end }}
{{- end }}
{{- end -}}

{{- define "continuum.secretMounts" -}}
{{- range . }}
{{- $name := kindIs "string" . | ternary . (get (kindIs "map" . | ternary . dict) "name") }}
- name: secret-{{ $name }}
  mountPath: /etc/continuum/secrets/{{ $name }}
  readOnly: true
{{- end }}
{{- end -}}

{{- /* The section that says where the witness is. */ -}}
{{- define "continuum.witnessAccess" -}}
{{- if .Values.witness.access -}}{{ toJson .Values.witness.access }}
{{- else if .Values.witness.enabled -}}
{{- $address := printf "%s-witness.%s.svc:7450" (include "continuum.name" .) .Release.Namespace -}}
{{ dict "name" .Values.witness.name "address" $address | toJson }}
{{- else -}}
{{- fail "witness.access is needed where witness.enabled is false: it says where agents and control nodes find the witness" -}}
{{- end -}}
{{- end -}}

{{- /* The founding control nodes, as the configuration's [[peers]]. */ -}}
{{- define "continuum.coreNodes" -}}
{{- $nodes := list -}}
{{- $name := printf "%s-server" (include "continuum.name" .) -}}
{{- range $at, $node := .Values.server.nodes -}}
{{- $host := printf "%s-%d.%s.%s.svc" $name $at $name $.Release.Namespace -}}
{{- $rpc := $node.advertise_rpc | default (printf "%s:7444" $host) -}}
{{- $api := $node.advertise_api | default (printf "%s:7443" $host) -}}
{{- if not $node.joins -}}
{{- $nodes = append $nodes (dict "name" $node.name "id" $node.id "address" $rpc "api_address" $api) -}}
{{- end -}}
{{- end -}}
{{- dict "nodes" (concat $nodes .Values.server.peers) | toJson -}}
{{- end -}}
