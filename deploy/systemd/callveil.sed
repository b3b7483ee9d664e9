# Of `callveil config example` the unit's configuration, /etc/callveil/callveil.toml: a ring beside it, and an audit log
# that logrotate.d's file knows.
s|^keyring = .*|keyring = "keyring.json"|
s|^#to = .*|to = "/var/log/callveil/audit.log"|
