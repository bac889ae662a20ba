//! Values for the Helm chart.

/// Helm values for production.
pub const PRODUCTION_VALUES: [&str; 2] = [
    "redis.url=redis+sentinel://sentinel:26379/main",
    "secret.existing=curfew",
];
/// Helm values that enable every feature.
pub const ALL_FEATURES: [&str; 18] = [
    PRODUCTION_VALUES[0],
    PRODUCTION_VALUES[1],
    "redis.password=true",
    "service.spoe=true",
    "service.proxy=true",
    "config.proxy.upstreams[0].host=app.example.com,config.proxy.upstreams[0].target=http://application:3000",
    "admin.service=true",
    "admin.from[0].podSelector.matchLabels.app=shop",
    "kubernetesIdentity.enabled=true",
    "kubernetesPolicies.enabled=true",
    "kubernetesIdentity.viewers[0].kind=Group,kubernetesIdentity.viewers[0].name=staff,kubernetesIdentity.viewers[0].apiGroup=rbac.authorization.k8s.io",
    "autoscaling.enabled=true",
    "networkPolicy.egress[0].ports[0].port=6379",
    "metrics.serviceMonitor=true",
    "metrics.prometheusRule=true",
    "metrics.dashboard=true",
    "env[0].name=CURFEW__LOG__FILTER,env[0].value=debug",
    "extraVolumes[0].name=ca,extraVolumes[0].configMap.name=ca,extraVolumeMounts[0].name=ca,extraVolumeMounts[0].mountPath=/ca",
];
