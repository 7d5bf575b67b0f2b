//! The cases of the policy: a request for each row of the table in each protocol that has it, and the status that each kind
//! of caller gets.

use visor::registry::policy::Action;

/// A protocol, as far as callers prove in it who they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Protocol {
    Visor,
    GlanceV1,
    GlanceV2,
    Identity,
    Lxd,
    Simplestreams,
    Cache,
}

/// The thing that a request is about, alice's. Its images are shared with carol, who has accepted them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fixture {
    /// Nothing.
    Nothing,
    /// An image without bytes: `<id>`.
    Queued,
    /// An image with bytes: `<id>`.
    Filled,
    /// An image whose bytes are withheld: `<id>`.
    Withheld,
    /// An image of LXD's, with an alias and a secret: `<id>`, `<fingerprint>`, `<alias>`, `<secret>`.
    Bundle,
    /// A job of LXD's: its path `<job>`.
    Job,
    /// An import that has ended: its job `<import>`.
    Import,
    /// A certificate: its fingerprint `<certificate>`.
    Certificate,
    /// A name for a namespace: `<namespace>`.
    Namespace,
}

/// A request, and its answers.
#[derive(Debug)]
pub(crate) struct Case {
    pub(crate) action: Action,
    pub(crate) protocol: Protocol,
    pub(crate) fixture: Fixture,
    pub(crate) method: &'static str,
    pub(crate) path: &'static str,
    pub(crate) headers: &'static [(&'static str, &'static str)],
    pub(crate) body: &'static str,
    /// The statuses for: a request without an account, a stranger, a member, the owner, an administrator.
    pub(crate) expected: [u16; 5],
    /// Statuses that do not show the row: something else than a right stands against the request.
    pub(crate) unlike_the_row: bool,
}

/// A table row as a case: what is asked, of what, how, and the answers.
macro_rules! cases {
    ($($action:ident $protocol:ident $fixture:ident $method:literal $path:literal [$($header:expr),*] $body:literal
       $(as $unlike:ident)? => $expected:expr;)+) => {
        /// All cases. The last ones remove what others need.
        pub(crate) const CASES: &[Case] = &[$(Case {
            action: Action::$action,
            protocol: Protocol::$protocol,
            fixture: Fixture::$fixture,
            method: $method,
            path: $path,
            headers: &[$($header),*],
            body: $body,
            expected: $expected,
            unlike_the_row: cases!(@ $($unlike)?),
        }),+];
    };
    (@) => { false };
    (@ $unlike:ident) => { true };
}

const JSON: (&str, &str) = ("Content-Type", "application/json");
const OCTETS: (&str, &str) = ("Content-Type", "application/octet-stream");
const PATCH: (&str, &str) = ("Content-Type", "application/openstack-images-v2.1-json-patch");
const NAME: (&str, &str) = ("X-Image-Meta-Name", "b");
const ARCH: (&str, &str) = ("X-Image-Meta-Architecture", "x86_64");
const TUS: (&str, &str) = ("Tus-Resumable", "1.0.0");
const ONLY_IF_CACHED: (&str, &str) = ("Cache-Control", "only-if-cached");
const LENGTH: (&str, &str) = ("Upload-Length", "5");

cases! {
    Discover GlanceV2 Nothing "GET" "/" [] "" => [300; 5];
    Discover GlanceV2 Nothing "GET" "/versions" [] "" => [200; 5];
    Discover GlanceV2 Nothing "GET" "/healthcheck" [] "" => [200; 5];
    Discover Visor Nothing "GET" "/status" [] "" => [200; 5];
    Discover Identity Nothing "GET" "/v3" [] "" => [200; 5];
    Discover Lxd Nothing "GET" "/" [] "" => [200; 5];
    Discover Lxd Nothing "GET" "/1.0" [] "" => [200; 5];
    SeeSchemas GlanceV2 Nothing "GET" "/v2/schemas/image" [] "" => [200; 5];
    SeeSchemas GlanceV2 Nothing "GET" "/v2/info/import" [] "" => [200; 5];
    SeeServer Lxd Nothing "GET" "/1.0/projects" [] "" => [403, 200, 200, 200, 200];
    SeeServer Lxd Nothing "GET" "/1.0/profiles/default" [] "" => [403, 200, 200, 200, 200];
    SeeServer Lxd Nothing "GET" "/1.0/instances" [] "" => [403, 200, 200, 200, 200];
    SeeStores GlanceV2 Nothing "GET" "/v2/info/stores" [] "" => [200; 5];
    SeeStoreDetails GlanceV2 Nothing "GET" "/v2/info/stores/detail" [] "" => [401, 403, 403, 403, 200];
    SeeMetrics Visor Nothing "GET" "/metrics" [] "" => [403, 403, 403, 403, 200];
    SeeMetrics Visor Nothing "GET" "/status/detail" [] "" => [403, 403, 403, 403, 200];
    ChangeSettings Lxd Nothing "PUT" "/1.0" [JSON] "{}" as unlike => [403, 400, 400, 400, 400];

    ListImages Visor Nothing "GET" "/images" [] "" => [200; 5];
    ListImages Visor Nothing "GET" "/images/detail" [] "" => [200; 5];
    ListImages GlanceV1 Nothing "GET" "/v1/images" [] "" => [200; 5];
    ListImages GlanceV1 Nothing "GET" "/v1/images/detail" [] "" => [200; 5];
    ListImages GlanceV2 Nothing "GET" "/v2/images" [] "" => [200; 5];
    ListImages Lxd Nothing "GET" "/1.0/images" [] "" => [200; 5];
    ListImages Simplestreams Nothing "GET" "/streams/v1/index.json" [] "" => [200; 5];
    SeeImage Visor Filled "HEAD" "/images/<id>" [] "" => [404, 404, 200, 200, 200];
    SeeImage GlanceV1 Filled "HEAD" "/v1/images/<id>" [] "" => [404, 404, 200, 200, 200];
    SeeImage GlanceV2 Filled "GET" "/v2/images/<id>" [] "" => [404, 404, 200, 200, 200];
    SeeImage Lxd Bundle "GET" "/1.0/images/<fingerprint>" [] "" => [404, 404, 200, 200, 200];
    SeeLocation GlanceV2 Filled "GET" "/v2/images/<id>/locations" [] "" => [404, 404, 403, 200, 200];
    Download Visor Filled "GET" "/images/<id>" [] "" => [404, 404, 200, 200, 200];
    Download Visor Filled "GET" "/images/<id>/disk.iso" [] "" => [404, 404, 200, 200, 200];
    Download GlanceV1 Filled "GET" "/v1/images/<id>" [] "" => [404, 404, 200, 200, 200];
    Download GlanceV2 Filled "GET" "/v2/images/<id>/file" [] "" => [404, 404, 200, 200, 200];
    Download Lxd Bundle "GET" "/1.0/images/<fingerprint>/export" [] "" => [404, 404, 200, 200, 200];
    Download Simplestreams Nothing "GET" "/streams/v1/files/<published>/combined.tar" [] "" as unlike => [200; 5];
    DownloadWithheld GlanceV1 Withheld "GET" "/v1/images/<id>" [] "" => [404, 404, 403, 403, 200];
    DownloadWithheld GlanceV2 Withheld "GET" "/v2/images/<id>/file" [] "" => [404, 404, 403, 403, 200];
    CreateImage Visor Nothing "POST" "/images" [NAME, ARCH] "" => [403, 200, 200, 200, 200];
    CreateImage Visor Nothing "POST" "/uploads" [NAME, ARCH, TUS, LENGTH] "" => [403, 201, 201, 201, 201];
    CreateImage GlanceV1 Nothing "POST" "/v1/images" [NAME] "" => [401, 201, 201, 201, 201];
    CreateImage GlanceV2 Nothing "POST" "/v2/images" [JSON] "{}" => [401, 201, 201, 201, 201];
    CreateImage Lxd Nothing "POST" "/1.0/images" [OCTETS] "<bundle>" => [403, 202, 202, 202, 202];
    SetOwner Visor Queued "PUT" "/images/<id>" [("X-Image-Meta-Owner", "dora")] "" as unlike => [403, 400, 400, 400, 200];
    SetOwner GlanceV2 Nothing "POST" "/v2/images" [JSON] r#"{"owner":"dora"}"# => [401, 403, 403, 403, 201];
    SetOwner GlanceV2 Queued "PATCH" "/v2/images/<id>" [PATCH] r#"[{"op":"replace","path":"/owner","value":"dora"}]"#
        => [401, 404, 403, 403, 200];
    ChangeImage Visor Filled "PUT" "/images/<id>" [NAME] "" => [403, 404, 403, 200, 200];
    ChangeImage GlanceV1 Filled "PUT" "/v1/images/<id>" [NAME] "" => [401, 404, 403, 200, 200];
    ChangeImage GlanceV2 Filled "PATCH" "/v2/images/<id>" [PATCH] r#"[{"op":"replace","path":"/visibility","value":"community"}]"#
        => [401, 404, 403, 200, 200];
    ChangeImage GlanceV2 Filled "PUT" "/v2/images/<id>/tags/t" [] "" => [401, 404, 403, 204, 204];
    ChangeImage Lxd Bundle "PATCH" "/1.0/images/<fingerprint>" [JSON] r#"{"properties":{"a":"b"}}"# => [403, 404, 403, 200, 200];
    PublishImage Visor Filled "PUT" "/images/<id>" [("X-Image-Meta-Access", "public")] "" => [403, 404, 403, 200, 200];
    PublishImage GlanceV1 Filled "PUT" "/v1/images/<id>" [("X-Image-Meta-Is_public", "True")] "" => [401, 404, 403, 200, 200];
    PublishImage GlanceV2 Filled "PATCH" "/v2/images/<id>" [PATCH] r#"[{"op":"replace","path":"/visibility","value":"public"}]"#
        => [401, 404, 403, 200, 200];
    PublishImage Lxd Bundle "PATCH" "/1.0/images/<fingerprint>" [JSON] r#"{"public":true}"# => [403, 404, 403, 200, 200];
    DeleteImage Visor Filled "DELETE" "/images/<id>" [] "" => [403, 404, 403, 200, 200];
    DeleteImage GlanceV1 Filled "DELETE" "/v1/images/<id>" [] "" => [401, 404, 403, 200, 200];
    DeleteImage GlanceV2 Filled "DELETE" "/v2/images/<id>" [] "" => [401, 404, 403, 204, 204];
    DeleteImage Lxd Bundle "DELETE" "/1.0/images/<fingerprint>" [] "" => [403, 404, 403, 202, 202];
    UploadBytes Visor Queued "PUT" "/images/<id>" [OCTETS] "bytes" => [403, 404, 403, 200, 200];
    UploadBytes Visor Queued "POST" "/uploads/<id>" [TUS, LENGTH] "" => [403, 404, 403, 201, 201];
    UploadBytes GlanceV1 Queued "PUT" "/v1/images/<id>" [OCTETS] "bytes" => [401, 404, 403, 200, 200];
    UploadBytes GlanceV2 Queued "PUT" "/v2/images/<id>/file" [OCTETS] "bytes" => [401, 404, 403, 204, 204];
    UploadBytes GlanceV2 Queued "PUT" "/v2/images/<id>/stage" [OCTETS] "bytes" => [401, 404, 403, 204, 204];
    LinkImage Visor Filled "GET" "/images/<id>/links" [] "" => [404, 404, 403, 200, 200];
    LinkImage Visor Filled "POST" "/images/<id>/links?for=1h" [] "" => [403, 404, 403, 201, 201];
    LinkImage Visor Filled "DELETE" "/images/<id>/links/none" [] "" as unlike => [403, 404, 403, 404, 404];
    WithholdImage Visor Filled "PUT" "/images/<id>" [("X-Image-Meta-Status", "locked")] "" => [403, 404, 403, 200, 200];
    WithholdImage GlanceV2 Filled "POST" "/v2/images/<id>/actions/deactivate" [] "" => [401, 404, 403, 204, 204];

    ImportFromUrl GlanceV2 Queued "POST" "/v2/images/<id>/import" [JSON]
        r#"{"method":{"name":"web-download","uri":"http://127.0.0.1:9/x"}}"# => [401, 404, 403, 400, 400];
    ImportFile Visor Queued "PUT" "/images/<id>" [("X-Image-Meta-Location", "file://<lent>")] "" => [403, 404, 403, 200, 200];
    CopyFromServer Lxd Nothing "POST" "/1.0/images" [JSON]
        r#"{"source":{"type":"image","server":"https://127.0.0.1:9","alias":"x"}}"# => [403, 202, 202, 202, 202];
    PackInstance Lxd Nothing "POST" "/1.0/images" [JSON] r#"{"source":{"type":"container","name":"none"}}"# as unlike
        => [403, 404, 404, 404, 404];
    RefreshImage Lxd Bundle "POST" "/1.0/images/<fingerprint>/refresh" [] "" => [403, 404, 403, 202, 202];
    PushImage Lxd Bundle "POST" "/1.0/images/<fingerprint>/export" [JSON] r#"{"target":"https://127.0.0.1:9","secret":"x"}"#
        => [403, 404, 403, 202, 202];
    MakeImageSecret Lxd Bundle "POST" "/1.0/images/<fingerprint>/secret" [] "" => [403, 404, 403, 202, 202];
    AwaitImage Lxd Nothing "POST" "/1.0/images" [JSON]
        r#"{"source":{"type":"image","mode":"push","fingerprint":"0000000000000000000000000000000000000000000000000000000000000000"}}"#
        => [403, 202, 202, 202, 202];
    UseSecret Lxd Bundle "GET" "/1.0/images/<fingerprint>?secret=<secret>" [] "" => [200; 5];
    UseSecret Lxd Bundle "GET" "/1.0/images/<fingerprint>/export?secret=<secret>" [] "" => [200; 5];
    Pull Visor Nothing "POST" "/pulls" [JSON] "{\"name\":\"none/1\"}" => [403, 202, 202, 202, 202];
    SeeVendors Visor Nothing "GET" "/vendors" [] "" => [200; 5];
    SeeVendors Visor Nothing "GET" "/pulls" [] "" => [200; 5];
    SeeCache Visor Nothing "GET" "/cache" [] "" => [403, 403, 403, 403, 200];
    ManageCache Visor Nothing "PUT" "/cache" [JSON] "{\"offline\":false}" => [403, 403, 403, 403, 200];
    // Of this machine: each of them may, and the file is not there.
    ReadCache Cache Nothing "GET" "/cache/https/images.example/x" [ONLY_IF_CACHED] "" as unlike => [504; 5];

    ChooseStore Visor Queued "PUT" "/images/<id>" [("X-Image-Meta-Store", "cold")] "" => [403, 404, 403, 200, 200];
    ChooseStore GlanceV2 Queued "PUT" "/v2/images/<id>/file" [OCTETS, ("X-Image-Meta-Store", "cold")] "bytes"
        => [401, 404, 403, 204, 204];
    MoveBetweenStores Visor Filled "PUT" "/images/<id>" [("X-Image-Meta-Store", "cold")] "" => [403, 404, 403, 200, 200];
    CopyBetweenStores GlanceV2 Filled "POST" "/v2/images/<id>/import" [JSON]
        r#"{"method":{"name":"copy-image"},"stores":["cold"]}"# => [401, 404, 403, 403, 202];
    CopyBetweenStores GlanceV2 Filled "DELETE" "/v2/stores/cold/<id>" [] "" => [401, 404, 403, 403, 409];

    ListMembers GlanceV1 Filled "GET" "/v1/images/<id>/members" [] "" => [404, 404, 200, 200, 200];
    ListMembers GlanceV2 Filled "GET" "/v2/images/<id>/members" [] "" => [404, 404, 200, 200, 200];
    ListShared GlanceV1 Filled "GET" "/v1/shared-images/carol" [] "" => [200; 5];
    AddMember GlanceV1 Filled "PUT" "/v1/images/<id>/members/dora" [] "" => [401, 404, 404, 204, 204];
    AddMember GlanceV2 Filled "POST" "/v2/images/<id>/members" [JSON] r#"{"member":"dora"}"# => [401, 404, 403, 200, 200];
    RemoveMember GlanceV1 Filled "DELETE" "/v1/images/<id>/members/carol" [] "" => [401, 404, 404, 204, 204];
    RemoveMember GlanceV2 Filled "DELETE" "/v2/images/<id>/members/carol" [] "" => [401, 404, 403, 204, 204];
    AnswerMembership GlanceV2 Filled "PUT" "/v2/images/<id>/members/carol" [JSON] r#"{"status":"rejected"}"#
        => [401, 404, 200, 403, 200];

    ListAliases Lxd Nothing "GET" "/1.0/images/aliases" [] "" => [403, 200, 200, 200, 200];
    SeeAlias Lxd Bundle "GET" "/1.0/images/aliases/<alias>" [] "" => [404, 404, 200, 200, 200];
    ChangeAlias Lxd Bundle "POST" "/1.0/images/aliases" [JSON] r#"{"name":"more-<alias>","target":"<fingerprint>"}"#
        => [403, 404, 403, 201, 201];
    ChangeAlias Lxd Bundle "PATCH" "/1.0/images/aliases/<alias>" [JSON] r#"{"description":"x"}"# => [403, 404, 403, 200, 200];
    ChangeAlias Lxd Bundle "POST" "/1.0/images/aliases/<alias>" [JSON] r#"{"name":"other-<alias>"}"# => [403, 404, 403, 201, 201];
    ChangeAlias Lxd Bundle "DELETE" "/1.0/images/aliases/<alias>" [] "" => [403, 404, 403, 200, 200];

    SeeJob Lxd Job "GET" "<job>" [] "" => [403, 404, 404, 200, 200];
    SeeJob Lxd Job "GET" "<job>/wait?timeout=0" [] "" => [403, 404, 404, 200, 200];
    StopJob Lxd Job "DELETE" "<job>" [] "" => [403, 404, 404, 200, 200];
    SeeJob Visor Import "GET" "/jobs" [] "" as unlike => [403, 200, 200, 200, 200];
    SeeJob Visor Import "GET" "/jobs/<import>" [] "" => [403, 404, 404, 200, 200];
    SeeJob Visor Import "GET" "/jobs/<import>?wait=1s" [] "" => [403, 404, 404, 200, 200];
    StopJob Visor Import "DELETE" "/jobs/<import>" [] "" as unlike => [403, 404, 404, 409, 409];
    SeeJobsOfImage GlanceV2 Filled "GET" "/v2/images/<id>/tasks" [] "" => [404, 404, 403, 200, 200];
    BeginTask GlanceV2 Nothing "POST" "/v2/tasks" [JSON]
        r#"{"type":"import","input":{"import_from":"http://127.0.0.1:9/x","import_from_format":"raw","image_properties":{}}}"#
        => [401, 403, 403, 403, 400];
    SeeAllJobs GlanceV2 Nothing "GET" "/v2/tasks" [] "" => [401, 403, 403, 403, 200];
    HearEvents Lxd Nothing "GET" "/1.0/events" [] "" => [403, 400, 400, 400, 400];

    SeeDefinitions GlanceV2 Nothing "GET" "/v2/metadefs/namespaces" [] "" => [200; 5];
    ChangeDefinitions GlanceV2 Namespace "POST" "/v2/metadefs/namespaces" [JSON] r#"{"namespace":"<namespace>"}"#
        => [401, 403, 403, 403, 201];

    ManageAccounts Visor Nothing "GET" "/users" [] "" => [403, 403, 403, 403, 200];
    ManageAccounts Visor Nothing "GET" "/users/carol" [] "" => [403, 403, 403, 403, 200];
    ManageAccounts Visor Nothing "PUT" "/users/carol" [JSON] r#"{"user":{"email":"c@example.org"}}"#
        => [403, 403, 403, 403, 200];
    ManageAccounts Identity Nothing "GET" "/v3/users" [] "" => [401, 403, 403, 403, 200];
    SeeAccount Identity Nothing "GET" "/v3/users/alice" [] "" => [401, 403, 403, 200, 200];
    LogIn Identity Nothing "POST" "/v3/auth/tokens" [JSON]
        r#"{"auth":{"identity":{"methods":["password"],"password":{"user":{"name":"alice","password":"<alice's secret>","domain":{"id":"default"}}}}}}"#
        => [201; 5];
    UseToken Identity Nothing "GET" "/v3/auth/tokens" [("X-Subject-Token", "<alice's token>")] "" => [401, 404, 404, 200, 200];
    AddCertificate Lxd Nothing "POST" "/1.0/certificates" [JSON] r#"{"type":"client","name":"x","token":true}"#
        => [403, 202, 202, 202, 202];
    AddCertificate Lxd Nothing "POST" "/1.0/certificates" [JSON] r#"{"type":"client","name":"x","certificate":"<der>"}"#
        => [403, 201, 201, 201, 201];
    JoinByProof Lxd Nothing "POST" "/1.0/certificates" [JSON]
        r#"{"type":"client","name":"x","certificate":"<der>","password":"<alice's keys>"}"# => [201; 5];
    SeeCertificate Lxd Certificate "GET" "/1.0/certificates/<certificate>" [] "" => [403, 404, 404, 200, 200];
    ChangeCertificate Lxd Certificate "PATCH" "/1.0/certificates/<certificate>" [JSON] r#"{"name":"tablet"}"#
        => [403, 404, 404, 200, 200];
    ChangeCertificate Lxd Certificate "PUT" "/1.0/certificates/<certificate>" [JSON]
        r#"{"name":"phone","type":"client","restricted":true,"projects":["default"]}"# => [403, 404, 404, 200, 200];
    ChangeCertificate Lxd Certificate "PATCH" "/1.0/certificates/<certificate>" [JSON] r#"{"certificate":"<pem>"}"#
        => [403, 404, 404, 200, 200];
    RenewCertificate Lxd Nothing "PATCH" "/1.0/certificates/<own>" [JSON] r#"{"certificate":"<pem>"}"# as own
        => [403, 200, 200, 200, 200];
    SeeCertificate Lxd Certificate "DELETE" "/1.0/certificates/<certificate>" [] "" => [403, 404, 404, 200, 200];

    DeleteOwnImages Visor Nothing "DELETE" "/all" [("X-Visor-Confirm", "all")] "" => [403, 200, 200, 200, 200];
}
