//! TLS as verifying clients see it, and certificates that are replaced while the server runs.

use std::{
    fs,
    io::{BufReader, ErrorKind, Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    os::unix::fs::PermissionsExt as _,
    path::Path,
    process::{Command, Output},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc,
    },
    time::{Duration, Instant, SystemTime},
};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::{
    ClientConfig, ClientConnection, NamedGroup, ProtocolVersion, RootCertStore, StreamOwned, SupportedProtocolVersion,
    crypto::aws_lc_rs, pki_types::CertificateDer, version,
};
use serde_json::{Value, json};

use crate::{
    clients::{check, script},
    needs::is_here,
    support::{Folder, Http, PASSWORD, PATIENCE, Server, USER, basic, post, read, run},
};

const RELOADED: &str = "certificate reloaded";
const KEPT: &str = "keeping the certificate in use";

const CALL: &str = r#"{"Numbers":["13988888888"],"Mode":"PhoneToUID"}"#;

/// A private CA, like an enterprise's.
pub struct Ca(CertifiedIssuer<'static, KeyPair>);

/// A certificate for this machine and its key, as PEM.
pub struct Pair {
    certificate: String,
    private_key: String,
    leaf: CertificateDer<'static>,
}

impl Ca {
    pub fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(rcgen::DnType::CommonName, "CA of a callveil test");
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    /// A new pair, whose chain contains the CA.
    pub fn pair(&self) -> Pair {
        self.pair_with(|_| {})
    }

    /// A pair that is valid from the beginning of one year to the beginning of another.
    fn pair_between(&self, from: i32, to: i32) -> Pair {
        self.pair_with(|params| {
            (params.not_before, params.not_after) = (rcgen::date_time_ymd(from, 1, 1), rcgen::date_time_ymd(to, 1, 1));
        })
    }

    fn pair_with(&self, change: impl FnOnce(&mut CertificateParams)) -> Pair {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(["localhost", "127.0.0.1"].map(str::to_owned)).unwrap();
        change(&mut params);
        let leaf = params.signed_by(&key, &self.0).unwrap();
        let certificate = leaf.pem() + &self.0.pem();
        Pair { certificate, private_key: key.serialize_pem(), leaf: leaf.der().clone() }
    }

    /// A client that trusts only this CA. It resumes sessions if it can.
    pub fn client(&self, versions: &[&'static SupportedProtocolVersion]) -> Arc<ClientConfig> {
        let mut roots = RootCertStore::empty();
        roots.add(self.0.der().clone()).unwrap();
        let builder = ClientConfig::builder_with_provider(aws_lc_rs::default_provider().into());
        let config = builder.with_protocol_versions(versions).unwrap().with_root_certificates(roots);
        Arc::new(config.with_no_client_auth())
    }
}

/// Puts a file in place in one step.
fn publish(folder: &Folder, name: &str, content: &str) {
    let new = folder.path().join("new");
    fs::write(&new, content).unwrap();
    fs::set_permissions(&new, fs::Permissions::from_mode(0o600)).unwrap();
    fs::rename(new, folder.path().join(name)).unwrap();
}

pub fn install(folder: &Folder, pair: &Pair) {
    publish(folder, "tls.crt", &pair.certificate);
    publish(folder, "tls.key", &pair.private_key);
}

pub const TLS: &str = "[tls]\ncertificate = \"tls.crt\"\nprivate_key = \"tls.key\"";

/// A folder with a CA at `ca.pem`, and a server with a pair from it.
fn serve(limits: &str) -> (Folder, Ca, Pair, Server) {
    let (folder, ca) = (Folder::new(), Ca::new());
    let pair = ca.pair();
    publish(&folder, "ca.pem", &ca.0.pem());
    install(&folder, &pair);
    let server = Server::start(&folder, &format!("{TLS}\n{limits}"), "");
    (folder, ca, pair, server)
}

/// The result of one request on a new connection: the TLS connection and the status.
pub fn request(address: SocketAddr, config: &Arc<ClientConfig>) -> std::io::Result<(ClientConnection, u16)> {
    let socket = TcpStream::connect(address)?;
    socket.set_read_timeout(Some(PATIENCE))?;
    socket.set_write_timeout(Some(PATIENCE))?;
    let connection = ClientConnection::new(config.clone(), "localhost".try_into().unwrap()).unwrap();
    let mut stream = StreamOwned::new(connection, socket);
    stream.write_all(post(&basic(USER, PASSWORD), CALL).replacen("\r\n", "\r\nconnection: close\r\n", 1).as_bytes())?;
    let mut answer = String::new();
    // To its end, which TLS says too: a cut would be an error.
    BufReader::new(&mut stream).read_to_string(&mut answer)?;
    let status = answer.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0);
    Ok((stream.conn, status))
}

fn leaf(connection: &ClientConnection) -> CertificateDer<'static> {
    connection.peer_certificates().unwrap()[0].clone().into_owned()
}

fn refusal(server: &Server) -> Option<String> {
    server.admin_get("/readyz").json()["certificate_refused"].as_str().map(str::to_owned)
}

fn curl(folder: &Folder, server: &Server, args: &[&str]) -> Output {
    let url = format!("https://localhost:{}/", server.address.port());
    let mut command = Command::new("curl");
    command.args(["-sS", "--max-time", "30", "--noproxy", "*", "-w", "\n%{http_version} %{http_code}"]).args(args);
    // Wherever `localhost` leads on this machine, the server is on IPv4.
    command.args(["--resolve", &format!("localhost:{}:127.0.0.1", server.address.port())]);
    command.args(["-u", &format!("{USER}:{PASSWORD}"), "-d", CALL, &url]).current_dir(folder.path());
    command.output().unwrap()
}

#[test]
fn curl_over_both_versions_of_tls() {
    if !is_here("curl") {
        return;
    }
    let (folder, _, _, server) = serve("");
    for tls in [&["--tlsv1.2", "--tls-max", "1.2"][..], &["--tlsv1.3"]] {
        for (http, expected) in [("--http1.1", "1.1 200"), ("--http2", "1.1 200"), ("--http1.0", "1 200")] {
            let output = curl(&folder, &server, &[tls, &["--cacert", "ca.pem", http]].concat());
            let out = String::from_utf8(output.stdout).unwrap();
            let (answer, end) = out.rsplit_once('\n').unwrap();
            assert_eq!(end, expected, "{tls:?} {http}");
            let answer: Value = serde_json::from_str(answer).unwrap();
            assert_eq!((&answer["Code"], answer["Results"][0]["Value"].as_str().unwrap().len()), (&json!(0), 40));
        }
    }
    // Versions that are no longer safe; whatever curl's own library thinks of them.
    let old = curl(
        &folder,
        &server,
        &["--cacert", "ca.pem", "--tlsv1.0", "--tls-max", "1.1", "--ciphers", "ALL:@SECLEVEL=0"],
    );
    assert!(!old.status.success());
    // A client that does not trust the CA sends nothing.
    let stranger = curl(&folder, &server, &[]);
    assert_eq!((stranger.status.code(), &*stranger.stdout), (Some(60), &b"\n0 000"[..]));
}

#[test]
fn python_node_and_java() {
    let (folder, _, _, server) = serve("");
    let (url, ca) = (format!("https://{}/", server.address), folder.path().join("ca.pem"));
    let command = |program: &str, file: &str| {
        let mut command = Command::new(program);
        command.arg(script(file)).args([&url, USER, PASSWORD]);
        command
    };
    // Each without its trust in the CA too: then it fails.
    let fails = |command: &mut Command| {
        let output = command.output().unwrap();
        assert!(!output.status.success() && output.stdout.is_empty(), "{output:?}");
    };
    if is_here("python3") {
        check(command("python3", "map.py").arg(&ca));
        fails(&mut command("python3", "map.py"));
    }
    if is_here("node") {
        check(command("node", "map.mjs").env("NODE_EXTRA_CA_CERTS", &ca));
        fails(&mut command("node", "map.mjs"));
    }
    if is_here("java") {
        let store = truststore(folder.path());
        let java = |options: &[&str]| {
            let mut command = Command::new("java");
            command.args(options).arg(script("Map.java")).args([&url, USER, PASSWORD, "tell"]);
            command
        };
        let options = [&*format!("-Djavax.net.ssl.trustStore={store}"), "-Djavax.net.ssl.trustStorePassword=changeit"];
        let output = java(&options).output().unwrap();
        let versions = String::from_utf8(output.stderr).unwrap();
        assert_eq!(String::from_utf8(output.stdout).unwrap(), "008613988888888 008613788888888\n", "{versions}");
        assert_eq!(versions.lines().filter(|line| *line == "HTTP_1_1").count(), 2, "{versions}");
        fails(&mut java(&[]));
    }
}

/// The CA at `ca.pem` in the form that Java needs.
fn truststore(folder: &Path) -> String {
    let store = folder.join("trust.p12").to_str().unwrap().to_owned();
    let made = Command::new("keytool")
        .args(["-importcert", "-noprompt", "-alias", "ca", "-file", "ca.pem", "-storetype", "PKCS12"])
        .args(["-storepass", "changeit", "-keystore", &store])
        .current_dir(folder)
        .output()
        .unwrap();
    assert!(made.status.success(), "{made:?}");
    store
}

#[test]
fn the_key_exchange_is_post_quantum() {
    let (_folder, ca, pair, server) = serve("");
    let (connection, status) = request(server.address, &ca.client(&[&version::TLS13])).unwrap();
    assert_eq!((status, leaf(&connection)), (200, pair.leaf.clone()));
    assert_eq!(connection.protocol_version(), Some(ProtocolVersion::TLSv1_3));
    let group = connection.negotiated_key_exchange_group().map(|group| group.name());
    assert_eq!(group, Some(NamedGroup::X25519MLKEM768));
    let (connection, status) = request(server.address, &ca.client(&[&version::TLS12])).unwrap();
    assert_eq!((status, connection.protocol_version()), (200, Some(ProtocolVersion::TLSv1_2)));
    let group = connection.negotiated_key_exchange_group().map(|group| group.name());
    println!("TLS 1.2: {group:?}, {:?}", connection.negotiated_cipher_suite());
    assert_eq!(group, Some(NamedGroup::X25519));
    // Another CA by the same name is not this one.
    let error = request(server.address, &Ca::new().client(&[&version::TLS13])).err().unwrap();
    assert_eq!(error.kind(), ErrorKind::InvalidData, "{error}");
}

#[test]
fn what_is_no_tls_gets_no_answer_and_silence_is_cut() {
    let (_folder, ca, _, server) = serve("[limits]\nheader_seconds = 1");
    let mut plain = server.connect();
    plain.write(post(&basic(USER, PASSWORD), CALL));
    let mut answer = Vec::new();
    let _ = plain.0.read_to_end(&mut answer);
    assert!(!String::from_utf8_lossy(&answer).contains("HTTP/"), "{answer:?}");
    // One says nothing, one begins a handshake, one says one byte of it and closes its half.
    let since = Instant::now();
    let (mut silent, mut slow, mut half) = (server.connect(), server.connect(), server.connect());
    slow.write(b"\x16\x03\x01\x02\x00\x01\x00");
    half.write(b"\x16");
    half.0.get_ref().shutdown(std::net::Shutdown::Write).unwrap();
    let is_cut = |http: &mut Http| matches!(read(&mut http.0, &mut [0]), Ok(0)) || http.is_over();
    assert!(is_cut(&mut half) && is_cut(&mut silent) && is_cut(&mut slow));
    assert!((Duration::from_millis(900)..PATIENCE).contains(&since.elapsed()), "{:?}", since.elapsed());
    assert_eq!(request(server.address, &ca.client(rustls::DEFAULT_VERSIONS)).unwrap().1, 200);
}

#[test]
fn the_certificate_is_replaced_under_load() {
    let (folder, ca, first, server) = serve("");
    let (address, ended) = (server.address, AtomicBool::new(false));
    let (sender, leaves) = mpsc::channel();
    let count = std::thread::scope(|scope| {
        let clients: Vec<_> = [&[&version::TLS13][..], &[&version::TLS12], rustls::DEFAULT_VERSIONS]
            .map(|versions| {
                let (config, sender, ended) = (ca.client(versions), sender.clone(), &ended);
                scope.spawn(move || {
                    let mut count = 0;
                    while !ended.load(Ordering::Relaxed) {
                        let (connection, status) = request(address, &config).expect("no request fails");
                        assert_eq!(status, 200);
                        let _ = sender.send(leaf(&connection));
                        count += 1;
                    }
                    count
                })
            })
            .into();
        // Also where this panics, the clients end.
        let end = Ended(&ended);
        let wait_until_seen = |leaf: &CertificateDer<'_>| {
            while leaves.recv_timeout(PATIENCE).expect("a request a while") != *leaf {}
        };
        wait_until_seen(&first.leaf);
        for at in 0..3 {
            let next = ca.pair();
            install(&folder, &next);
            if at > 0 {
                server.signal("HUP");
            }
            server.wait_for(RELOADED);
            // From now on nobody gets another.
            assert_eq!(leaf(&request(address, &ca.client(rustls::DEFAULT_VERSIONS)).unwrap().0), next.leaf);
            wait_until_seen(&next.leaf);
        }
        drop(end);
        clients.into_iter().map(|client| client.join().unwrap()).sum::<usize>()
    });
    assert_eq!(refusal(&server), None);
    println!("{count} requests, each on a connection of its own");
}

struct Ended<'a>(&'a AtomicBool);

impl Drop for Ended<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn a_bad_pair_is_refused_and_the_one_in_use_kept() {
    let (folder, ca, good, server) = serve("");
    let client = ca.client(rustls::DEFAULT_VERSIONS);
    let other = ca.pair();
    let torn = |pem: &str| pem[..pem.len() / 4].to_owned();
    let torn_chain = &other.certificate[..other.certificate.len() - 40];
    let bad = [
        ("tls.crt", torn(&other.certificate), "tls.crt: it holds no certificate as PEM"),
        ("tls.crt", torn_chain.to_owned(), "tls.crt: it holds no certificate as PEM"),
        ("tls.crt", String::new(), "tls.crt: it holds no certificate as PEM"),
        ("tls.crt", other.private_key.clone(), "tls.crt: it holds a private key: the certificate is wanted"),
        ("tls.crt", other.certificate.clone(), "tls.key: it is not the key of that certificate"),
        ("tls.key", torn(&other.private_key), "tls.key: it holds no private key as PEM"),
        ("tls.key", other.private_key.clone(), "tls.key: it is not the key of that certificate"),
    ];
    for (name, content, expected) in bad {
        publish(&folder, name, &content);
        let record = server.wait_for(KEPT);
        assert!(record["reason"].as_str().unwrap().ends_with(expected), "{record}");
        assert!(refusal(&server).unwrap().ends_with(expected));
        assert_eq!(server.admin_get("/readyz").status, 200, "it still serves");
        let (connection, status) = request(server.address, &client).unwrap();
        assert_eq!((status, leaf(&connection)), (200, good.leaf.clone()));
        install(&folder, &good);
        server.signal("HUP");
        server.wait_for(RELOADED);
        assert_eq!(refusal(&server), None);
    }
    // A file that was away for a while and came back as it was.
    fs::remove_file(folder.path().join("tls.key")).unwrap();
    server.wait_for(KEPT);
    assert!(refusal(&server).unwrap().contains("cannot read"));
    publish(&folder, "tls.key", &good.private_key);
    server.wait_for(RELOADED);
    assert_eq!(refusal(&server), None);
    assert!(!server.log().contains("PRIVATE KEY"));
}

#[test]
fn a_bad_pair_stops_the_start() {
    let folder = Folder::new();
    let config = folder.config(TLS, "").to_str().unwrap().to_owned();
    let check = |expected: &str| {
        let output = run(folder.path(), &["serve", "--config", &config]);
        let err = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.code() == Some(78) && err.contains(expected), "{err}");
    };
    check("tls.crt");
    let (one, other) = (Ca::new().pair(), Ca::new().pair());
    install(&folder, &one);
    publish(&folder, "tls.key", &other.private_key);
    check("it is not the key of that certificate");
}

/// Runs openssl with these arguments in the folder.
fn openssl(folder: &Folder, args: &str) {
    let output = Command::new("openssl").args(args.split(' ')).current_dir(folder.path()).output().unwrap();
    assert!(output.status.success(), "openssl {args}: {}", String::from_utf8_lossy(&output.stderr));
}

/// Each file that is wrong ends the start with what is wrong with it.
#[test]
fn wrong_files_are_named_with_what_is_wrong() {
    if !is_here("openssl") {
        return;
    }
    let folder = Folder::new();
    let config = folder.config(TLS, "").to_str().unwrap().to_owned();
    let check = |expected: &str| {
        fs::set_permissions(folder.path().join("tls.key"), fs::Permissions::from_mode(0o600)).unwrap();
        let output = run(folder.path(), &["serve", "--config", &config]);
        let err = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.code() == Some(78) && err.contains(expected), "{expected}: {err}");
    };
    let request = "req -x509 -days 9 -subj /CN=localhost -nodes -keyout tls.key -out tls.crt";
    for (key, expected) in [
        ("-newkey rsa:1024", "its RSA key has less than 2048 bits"),
        ("-newkey ec -pkeyopt ec_paramgen_curve:secp256k1", "on another curve"),
        ("-newkey ed448", "Ed448"),
        ("-newkey rsa-pss -pkeyopt rsa_keygen_bits:2048", "RSA-PSS"),
    ] {
        openssl(&folder, &format!("{request} {key}"));
        check(expected);
    }
    openssl(&folder, &format!("{request} -newkey rsa:2048"));
    openssl(&folder, "pkey -in tls.key -aes256 -passout pass:hunter2 -out encrypted.key");
    fs::rename(folder.path().join("encrypted.key"), folder.path().join("tls.key")).unwrap();
    check("the private key is encrypted");
    openssl(&folder, "req -new -subj /CN=localhost -nodes -newkey rsa:2048 -keyout tls.key -out tls.crt");
    check("it holds a request for a certificate");
    let (ca, pair) = (Ca::new(), Ca::new().pair());
    let (leaf, others) = (ca.pair(), pair.certificate.clone());
    install(&folder, &leaf);
    publish(&folder, "tls.crt", &(ca.0.pem() + &leaf.certificate));
    check("its first certificate is a CA's");
    publish(&folder, "tls.crt", &(leaf.certificate.clone() + &others));
    check("its chain is out of order");
    publish(&folder, "tls.crt", &leaf.certificate);
    publish(&folder, "tls.key", &(leaf.private_key.clone() + &pair.private_key));
    check("it holds several private keys");
    publish(&folder, "tls.key", &leaf.private_key);
    fs::set_permissions(folder.path().join("tls.key"), fs::Permissions::from_mode(0o604)).unwrap();
    let output = run(folder.path(), &["serve", "--config", &config]);
    assert!(String::from_utf8_lossy(&output.stderr).contains("it is open to others"), "{output:?}");
}

/// RFC 5280 allows a serial number 20 bytes. Private CAs give longer ones, which OpenSSL and rustls accept.
#[test]
fn a_long_serial_number_is_no_fault() {
    if !is_here("openssl") {
        return;
    }
    let folder = Folder::new();
    let request = "req -x509 -days 9 -subj /CN=localhost -nodes -keyout tls.key -out tls.crt -newkey rsa:2048";
    openssl(&folder, &format!("{request} -set_serial 0x{}", "7f".repeat(40)));
    fs::set_permissions(folder.path().join("tls.key"), fs::Permissions::from_mode(0o600)).unwrap();
    Server::start(&folder, TLS, "");
}

/// One that is not valid now is warned of at the start, and does not replace one that is.
#[test]
fn certificates_out_of_their_time() {
    let (folder, ca) = (Folder::new(), Ca::new());
    install(&folder, &ca.pair_between(2020, 2021));
    let server = Server::start(&folder, TLS, "");
    assert!(server.log().contains("the certificate has expired"), "{}", server.log());
    // It is no worse than the one in use.
    install(&folder, &ca.pair_between(2100, 2101));
    server.wait_for(RELOADED);
    install(&folder, &ca.pair());
    server.wait_for(RELOADED);
    for (from, to, expected) in [(2020, 2021, "has expired"), (2100, 2101, "is not valid yet")] {
        install(&folder, &ca.pair_between(from, to));
        assert!(server.wait_for(KEPT)["reason"].as_str().unwrap().contains(expected));
        assert_eq!(request(server.address, &ca.client(rustls::DEFAULT_VERSIONS)).unwrap().1, 200);
    }
}

/// One that was refused for coming too early is taken up when its time comes, without anybody touching it.
#[test]
fn a_certificate_is_taken_up_when_its_time_comes() {
    let (folder, ca, _, server) = serve("");
    let later = ca.pair_with(|params| params.not_before = (SystemTime::now() + Duration::from_secs(4)).into());
    install(&folder, &later);
    while !server.wait_for(KEPT)["reason"].as_str().unwrap().contains("is not valid yet") {}
    assert!(refusal(&server).is_some());
    server.wait_for(RELOADED);
    let (connection, _) = request(server.address, &ca.client(rustls::DEFAULT_VERSIONS)).unwrap();
    assert_eq!((leaf(&connection), refusal(&server)), (later.leaf, None));
}

/// Of two certificates one is refused: that stays to be seen when the other is taken up.
#[test]
fn a_refusal_is_kept_until_that_one_is_mended() {
    if !is_here("curl") {
        return;
    }
    let (folder, ca) = (Folder::new(), Ca::new());
    for (name, pair) in [("tls", ca.pair()), ("other", ca.pair())] {
        publish(&folder, &format!("{name}.crt"), &pair.certificate);
        publish(&folder, &format!("{name}.key"), &pair.private_key);
    }
    let (mine, third) = (TLS.replace("[tls]", "[admin.tls]").replace("tls.crt", "other.crt"), ca.pair());
    let server = Server::start(&folder, TLS, &mine.replace("tls.key", "other.key"));
    publish(&folder, "tls.crt", "torn");
    server.wait_for(KEPT);
    for (name, content) in [("other.crt", &third.certificate), ("other.key", &third.private_key)] {
        publish(&folder, name, content);
    }
    server.wait_for(RELOADED);
    let get = || {
        let mut http = Command::new("curl");
        http.args(["-sSk", "--max-time", "30", "--noproxy", "*", &format!("https://{}/readyz", server.admin)]);
        String::from_utf8(http.output().unwrap().stdout).unwrap()
    };
    assert!(get().contains("tls.crt: it holds no certificate as PEM"), "{}", get());
    install(&folder, &ca.pair());
    server.wait_for(RELOADED);
    assert!(get().contains("\"certificate_refused\":null"), "{}", get());
}

/// The admin listener over TLS, to those alone who have a certificate of the CA for clients.
#[test]
fn the_admin_listener_over_tls() {
    if !is_here("curl") {
        return;
    }
    let (folder, ca, people) = (Folder::new(), Ca::new(), Ca::new());
    publish(&folder, "ca.pem", &ca.0.pem());
    publish(&folder, "people.pem", &people.0.pem());
    install(&folder, &ca.pair());
    for (name, pair) in [("person", people.pair()), ("stranger", ca.pair())] {
        publish(&folder, &format!("{name}.crt"), &pair.certificate);
        publish(&folder, &format!("{name}.key"), &pair.private_key);
    }
    let tls = TLS.replace("[tls]", "[admin.tls]") + "\nclient_ca = \"people.pem\"";
    let server = Server::start(&folder, "", &tls);
    let get = |options: &str| {
        let mut command = Command::new("curl");
        command.args(["-sS", "--max-time", "30", "--noproxy", "*", "--cacert", "ca.pem", "-o", "/dev/null"]);
        command.args(["-w", "%{http_code}"]).args(options.split_whitespace()).current_dir(folder.path());
        command.args(["--resolve", &format!("localhost:{}:127.0.0.1", server.admin.port())]);
        let output = command.arg(format!("https://localhost:{}/readyz", server.admin.port())).output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    assert_eq!(get("--cert person.crt --key person.key"), "200");
    assert_eq!(get("--cert stranger.crt --key stranger.key"), "000");
    assert_eq!(get(""), "000");
    let check = |person: &str| {
        let (url, certificate, key) =
            (format!("https://{}", server.admin), format!("{person}.crt"), format!("{person}.key"));
        let options = ["--ca", "ca.pem", "--client-certificate", &certificate, "--client-key", &key];
        run(folder.path(), &[&["keys", "check", &url][..], &options].concat()).status.code()
    };
    assert_eq!((check("person"), check("stranger")), (Some(0), Some(1)));
    assert!(plain_answer(&server).is_none());
}

/// The answer of the admin listener to plain HTTP.
fn plain_answer(server: &Server) -> Option<crate::support::Answer> {
    let mut http = Http::connect(server.admin);
    http.write("GET /readyz HTTP/1.1\r\nhost: admin\r\n\r\n");
    http.try_read()
}

/// A wrong password with a body of 1 MB: the answer is seen within a second by every client.
#[test]
fn refusals_reach_clients_that_send_large_bodies() {
    let (folder, _, _, server) = serve("");
    let (url, ca) = (format!("https://localhost:{}/", server.address.port()), folder.path().join("ca.pem"));
    let within_a_second = |name: &str, command: &mut Command, expected: &str| {
        let output = command.output().unwrap();
        let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        let (status, millis) = out.trim().split_once(' ').unwrap_or_else(|| panic!("{name}: {out} {err}"));
        println!("{name}: {status} after {millis} ms");
        assert_eq!(status, expected, "{name}: {err}");
        assert!(millis.parse::<f64>().unwrap() < 1000.0, "{name}: {millis} ms");
    };
    fs::write(folder.path().join("body"), vec![b'x'; 1_000_000]).unwrap();
    if is_here("curl") {
        let mut command = Command::new("curl");
        command.args(["-sS", "--max-time", "30", "--noproxy", "*", "--cacert"]).arg(&ca).args(["-u", "ccc:wrong"]);
        command.args(["--resolve", &format!("localhost:{}:127.0.0.1", server.address.port())]);
        command.args(["--data-binary", "@body", "-o", "/dev/null", "-w", "%{http_code} %{time_total}", &url]);
        let output = command.current_dir(folder.path()).output().unwrap();
        let out = String::from_utf8_lossy(&output.stdout);
        let (status, seconds) = out.split_once(' ').unwrap();
        assert_eq!(status, "401", "{output:?}");
        assert!(seconds.parse::<f64>().unwrap() < 1.0, "{seconds} s");
    }
    let url = format!("https://{}/", server.address);
    if is_here("python3") {
        within_a_second("Python", Command::new("python3").arg(script("refused.py")).args([&url]).arg(&ca), "401");
    }
    if is_here("node") {
        let node = |kind: &str| {
            let mut command = Command::new("node");
            command.arg(script("refused.mjs")).args([&url, kind]).env("NODE_EXTRA_CA_CERTS", &ca);
            command
        };
        within_a_second("Node's https", &mut node("https"), "401");
        within_a_second("Node's fetch", &mut node("fetch"), "401");
        // It speaks HTTP/2 alone, and is told so in the handshake.
        within_a_second("Node's http2", &mut node("http2"), "no-application-protocol");
    }
    if is_here("java") {
        let store = truststore(folder.path());
        let mut command = Command::new("java");
        command.args([&*format!("-Djavax.net.ssl.trustStore={store}"), "-Djavax.net.ssl.trustStorePassword=changeit"]);
        within_a_second("Java", command.arg(script("Refused.java")).arg(&url), "401");
    }
}

/// Whether this element of sslscan's XML has this attribute.
fn has(element: &str, attribute: &str, value: &str) -> bool {
    element.contains(&format!(" {attribute}=\"{value}\""))
}

#[test]
fn sslscan_finds_nothing_weak() {
    if !is_here("sslscan") {
        return;
    }
    let (_folder, _, _, server) = serve("");
    let output = Command::new("sslscan").args(["--xml=-", &server.address.to_string()]).output().unwrap();
    let xml = String::from_utf8(output.stdout).unwrap();
    let elements = |name: &str| -> Vec<&str> {
        xml.lines().map(str::trim).filter(|line| line.starts_with(&format!("<{name} "))).collect()
    };
    let (protocols, ciphers) = (elements("protocol"), elements("cipher"));
    for protocol in &protocols {
        let is_safe =
            has(protocol, "type", "tls") && (has(protocol, "version", "1.2") || has(protocol, "version", "1.3"));
        assert_eq!(has(protocol, "enabled", "1"), is_safe, "{protocol}");
    }
    assert_eq!(protocols.len(), 6, "{xml}");
    assert!(!ciphers.is_empty());
    for cipher in ciphers {
        let is_aead = cipher.contains("GCM") || cipher.contains("CHACHA20");
        let is_weak =
            ["CBC", "3DES", "RC4", "EXP", "NULL", "ADH", "AECDH", "anon"].iter().any(|name| cipher.contains(name));
        let is_forward_secret = cipher.contains("ECDHE") || has(cipher, "sslversion", "TLSv1.3");
        assert!(
            is_aead
                && is_forward_secret
                && !is_weak
                && (has(cipher, "strength", "strong") || has(cipher, "strength", "acceptable")),
            "{cipher}"
        );
        println!("{cipher}");
    }
    assert!(elements("heartbleed").iter().all(|heartbleed| has(heartbleed, "vulnerable", "0")), "{xml}");
    assert!(elements("compression").iter().all(|compression| has(compression, "supported", "0")), "{xml}");
    for group in elements("group") {
        println!("{group}");
    }
}
