{{- /* TOML of a value. Helm's own toToml writes whole numbers as 5432.0, which no configuration takes. */ -}}
{{- define "continuum.toml.value" -}}
{{- if kindIs "map" . -}}
{ {{- range $at, $key := keys . | sortAlpha }}{{ if $at }},{{ end }} {{ include "continuum.toml.key" $key }} = {{ include "continuum.toml.value" (index $ $key) }}{{ end }} }
{{- else if kindIs "slice" . -}}
[{{ range $at, $item := . }}{{ if $at }}, {{ end }}{{ include "continuum.toml.value" $item }}{{ end }}]
{{- else if kindIs "string" . -}}{{ toJson . }}
{{- else if kindIs "float64" . -}}{{ if eq (floor .) . }}{{ int64 . }}{{ else }}{{ . }}{{ end }}
{{- else -}}{{ . }}
{{- end -}}
{{- end -}}

{{- define "continuum.toml.key" -}}
{{- if regexMatch "^[A-Za-z0-9_-]+$" . -}}{{ . }}{{- else -}}{{ toJson . }}{{- end -}}
{{- end -}}

{{- /* TOML of a whole file: what is not a table first, then a line for each key of a table, and a table for each of a list. */ -}}
{{- define "continuum.toml" -}}
{{- $root := . -}}
{{- range $key := keys . | sortAlpha }}
{{- $value := index $root $key }}
{{- if and (not (kindIs "map" $value)) (not (and (kindIs "slice" $value) $value (kindIs "map" (first $value)))) }}
{{ $key }} = {{ include "continuum.toml.value" $value }}
{{- end }}
{{- end }}
{{- range $key := keys . | sortAlpha }}
{{- $value := index $root $key }}
{{- if kindIs "map" $value }}
[{{ $key }}]
{{- range $inner := keys $value | sortAlpha }}
{{ include "continuum.toml.key" $inner }} = {{ include "continuum.toml.value" (index $value $inner) }}
{{- end }}
{{- else if and (kindIs "slice" $value) $value }}
{{- if kindIs "map" (first $value) }}
{{- range $item := $value }}
[[{{ $key }}]]
{{- range $inner := keys $item | sortAlpha }}
{{ include "continuum.toml.key" $inner }} = {{ include "continuum.toml.value" (index $item $inner) }}
{{- end }}
{{- end }}
{{- end }}
{{- end }}
{{- end }}
{{ end -}}
