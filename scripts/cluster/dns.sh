#!/usr/bin/env bash
# Answers the DNS names of services: dnsmasq, with a file of names that follows the services and their endpoints.
# scripts/cluster/node.sh starts it.
set -euo pipefail

names=$run/names
touch "$names"
dnsmasq --keep-in-foreground --no-resolv --no-hosts --addn-hosts="$names" --local=/cluster.local/ --user=root --pid-file= \
  --listen-address=192.0.2.10 --bind-interfaces --log-facility=- &
server=$!
services='{{range .items}}{{if ne .spec.clusterIP "None"}}{{.spec.clusterIP}} {{.metadata.name}}.{{.metadata.namespace}}.svc.cluster.local
{{end}}{{end}}'
# A service without an address of its own has the addresses of its pods.
endpoints='{{range .items}}{{$namespace := .metadata.namespace}}{{$service := index .metadata.labels "kubernetes.io/service-name"}}{{range .endpoints}}{{if .conditions.ready}}{{index .addresses 0}} {{$service}}.{{$namespace}}.svc.cluster.local
{{end}}{{end}}{{end}}'
while kill -0 "$server"; do
  {
    kubectl get services --all-namespaces --output go-template="$services"
    kubectl get endpointslices --all-namespaces --selector service.kubernetes.io/headless \
      --output go-template="$endpoints"
  } >"$names.new" || continue
  if ! cmp -s "$names.new" "$names"; then
    cp "$names.new" "$names"
    kill -HUP "$server"
  fi
  sleep 0.5
done
