//! Runs Apache with mod_auth_openidc, which signs people in. Curfew asks Apache about their sessions
//! (`delegated`).

use std::net::SocketAddr;
use std::process::Command;

use crate::support::deployment::Server;
use crate::support::{free_port, loopback};

pub struct Apache {
    pub server: Server,
}

impl Apache {
    /// Starts Apache, which signs people in with the provider `issuer`. `public` is the public address
    /// of Apache.
    pub fn start(address: SocketAddr, issuer: &str, public: &str) -> Self {
        let configuration = CONFIGURATION
            .replace("ADDRESS", &address.to_string())
            .replace("ISSUER", issuer)
            .replace("PUBLIC", public);
        let files = [
            ("apache2.conf", &*configuration),
            // Pages for the paths in the configuration. Their content does not matter.
            ("check", ""),
            ("sign-in", "signed in"),
        ];
        let mut command = Command::new("apache2");
        // Runs Apache in the foreground, with one process.
        command.args(["-X", "-d", ".", "-f", "apache2.conf"]);
        Self {
            server: Server::start(&mut command, &files, &[address]),
        }
    }

    pub fn free_address() -> SocketAddr {
        loopback(free_port())
    }
}

const CONFIGURATION: &str = r#"
ServerName localhost
Listen ADDRESS
PidFile apache2.pid
ErrorLog /dev/stderr
LogLevel warn
LoadModule mpm_event_module /usr/lib/apache2/modules/mod_mpm_event.so
LoadModule authn_core_module /usr/lib/apache2/modules/mod_authn_core.so
LoadModule authz_core_module /usr/lib/apache2/modules/mod_authz_core.so
LoadModule authz_user_module /usr/lib/apache2/modules/mod_authz_user.so
LoadModule alias_module /usr/lib/apache2/modules/mod_alias.so
LoadModule headers_module /usr/lib/apache2/modules/mod_headers.so
LoadModule auth_openidc_module /usr/lib/apache2/modules/mod_auth_openidc.so

# The path that Curfew asks, and the page that starts a sign-in.
Alias /auth/check check
Alias /auth/sign-in sign-in

OIDCProviderMetadataURL ISSUER/.well-known/openid-configuration
OIDCClientID apache
OIDCClientSecret secret-of-apache
OIDCRedirectURI PUBLIC/auth/callback
OIDCCryptoPassphrase for-a-test
OIDCPKCEMethod S256
OIDCScope "openid email"
OIDCXForwardedHeaders X-Forwarded-Proto
OIDCCacheShmMax 100

<Directory />
    Require all granted
</Directory>
<Location /auth>
    AuthType openid-connect
    Require valid-user
</Location>
<Location /auth/check>
    OIDCUnAuthAction 401
    Header always set X-User "expr=%{REMOTE_USER}"
</Location>
"#;
