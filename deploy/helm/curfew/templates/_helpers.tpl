{{/* The name of all objects. */}}
{{- define "curfew.name" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 63 | trimSuffix "-" -}}
{{- else -}}
{{- $name := default .Chart.Name .Values.nameOverride -}}
{{- if contains $name .Release.Name -}}
{{- .Release.Name | trunc 63 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name $name | trunc 63 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* The labels that select the pods. They must not change in later versions. */}}
{{- define "curfew.selector" -}}
app.kubernetes.io/name: {{ default .Chart.Name .Values.nameOverride }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "curfew.labels" -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{ include "curfew.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- end -}}

{{- define "curfew.serviceAccount" -}}
{{- if .Values.serviceAccount.create -}}
{{- default (include "curfew.name" .) .Values.serviceAccount.name -}}
{{- else -}}
{{- default "default" .Values.serviceAccount.name -}}
{{- end -}}
{{- end -}}

{{/* Curfew's configuration: the value `config`, and the keys that other values set. */}}
{{- define "curfew.config" -}}
{{- $listen := dict -}}
{{- if .Values.service.spoe -}}{{- $_ := set $listen "spoe" "[::]:9182" -}}{{- end -}}
{{- if .Values.service.proxy -}}{{- $_ := set $listen "proxy" "[::]:9184" -}}{{- end -}}
{{- if .Values.admin.service -}}{{- $_ := set $listen "admin" "[::]:9188" -}}{{- end -}}
{{- $own := dict -}}
{{- if $listen -}}{{- $_ := set $own "listen" $listen -}}{{- end -}}
{{- if .Values.redis.url -}}
{{- $store := dict "url" .Values.redis.url -}}
{{- if .Values.redis.password -}}{{- $_ := set $store "password_file" "/etc/curfew/secret/redis-password" -}}{{- end -}}
{{- $_ := set $own "store" $store -}}
{{- end -}}
{{- if .Values.secret.existing -}}
{{- $_ := set $own "token" (dict "keys_file" "/etc/curfew/secret/keys") -}}
{{- $_ := set $own "admin" (dict "token_hashes_file" "/etc/curfew/secret/admin-token-hashes") -}}
{{- else if include "curfew.adminTokenSecret" . -}}
{{- $_ := set $own "admin" (dict "token_hashes_file" "/etc/curfew/secret/admin-token-hashes") -}}
{{- end -}}
{{- if .Values.kubernetesIdentity.enabled -}}
{{- $_ := set $own "admin" (mergeOverwrite (default dict $own.admin) (dict "kubernetes" (dict "enabled" true))) -}}
{{- end -}}
{{- if .Values.kubernetesPolicies.enabled -}}
{{- $_ := set $own "kubernetes" (dict "policies" true) -}}
{{- end -}}
{{- mergeOverwrite $own (deepCopy .Values.config) | toYaml -}}
{{- end -}}

{{/* The name of the Secret with a generated admin token. Empty if the values provide another way into the admin API. */}}
{{- define "curfew.adminTokenSecret" -}}
{{- $admin := default dict .Values.config.admin -}}
{{- $kubernetes := or .Values.kubernetesIdentity.enabled (dig "kubernetes" "enabled" false $admin) -}}
{{- if not (or .Values.secret.existing $kubernetes $admin.token_hashes $admin.token_hashes_file) -}}
{{- printf "%s-admin-token" (include "curfew.name" . | trunc 50 | trimSuffix "-") -}}
{{- end -}}
{{- end -}}

{{/*
The name of the ConfigMap. It changes with everything in the configuration that only a new pod can use: the keys that need a
restart, and the files that the pod mounts. So no pod of an old template gets the configuration of a new one. The other keys
do not change the name, because Curfew reloads them.
*/}}
{{- define "curfew.configMap" -}}
{{- $config := include "curfew.config" . | fromYaml -}}
{{- $restart := pick $config "listen" "events" "traces" "kubernetes" "shutdown_delay" "shutdown_timeout" -}}
{{- $_ := set $restart "store" (omit (default dict $config.store) "check_timeout") -}}
{{- $_ := set $restart "log" (pick (default dict $config.log) "format") -}}
{{- $mounts := pick .Values "secret" "env" "envFrom" "extraVolumes" "extraVolumeMounts" -}}
{{- $pod := dict "restart" $restart "mounts" $mounts "adminTokenSecret" (include "curfew.adminTokenSecret" .) -}}
{{- printf "%s-%s" (include "curfew.name" . | trunc 52 | trimSuffix "-") (toJson $pod | sha256sum | trunc 10) -}}
{{- end -}}

{{/* The URL scheme of the ops listener. */}}
{{- define "curfew.opsScheme" -}}
{{- if dig "tls" "ops" "cert_file" "" .Values.config -}}https{{- else -}}http{{- end -}}
{{- end -}}

{{/* Rejects invalid values before the installation. */}}
{{- define "curfew.check" -}}
{{- if dig "tls" "ops" "client_ca_file" "" .Values.config -}}
{{- fail "config.tls.ops.client_ca_file: the kubelet has no client certificate, so its probes would fail. Remove this key." -}}
{{- end -}}
{{- if and .Values.redis.url (not .Values.secret.existing) -}}
{{- fail "secret.existing: required with redis.url: sessions in Redis outlive the pods, so the key that signs their tokens must outlive the pods too. Create the files with `curfew keygen --directory .`, and the Secret with `kubectl create secret generic curfew --from-file=keys --from-file=admin-token-hashes`." -}}
{{- end -}}
{{- if and (not .Values.redis.url) (or .Values.autoscaling.enabled (gt (int .Values.replicas) 1)) -}}
{{- fail "redis.url: required for more than one replica: replicas do not share sessions in memory. For a trial, set replicas to 1." -}}
{{- end -}}
{{- if and .Values.admin.service (not .Values.networkPolicy.enabled) (not .Values.admin.from) -}}
{{- fail "admin.service: the admin API uses plain HTTP: keep networkPolicy.enabled, and list the clients in admin.from." -}}
{{- end -}}
{{- end -}}
