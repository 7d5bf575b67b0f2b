//! The table of the policy: each action that a request of any protocol can mean, and who may do it. `docs/policy.md` is written from
//! it. Knows no caller.

/// Callers that an action is open to. Administrators may do everything but what is closed to every request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Who {
    /// Every request, with or without an account.
    Everybody,
    /// Every account; and, with `auth.public_read`, requests without one, which then know of public and community images
    /// only.
    Readers,
    /// Every account.
    Accounts,
    /// Callers that see the image: its owner, the members of a shared one, and every reader of a public or community
    /// one.
    Viewers,
    /// The image's owner, and members that may share it.
    Sharers,
    /// The member in question.
    Member,
    /// The image's owner.
    Owner,
    /// The image's owner, unless `auth.publish` is `"admin"`.
    Publisher,
    /// The account that the thing belongs to: a job, a token, a certificate.
    Holder,
    /// Requests that prove their right another way: by an account's keys, a token or a secret.
    Proof,
    /// Administrators.
    Admins,
    /// No request.
    Closed,
}

impl Who {
    /// All kinds of callers, from the most to the fewest.
    pub const ALL: [Self; 12] = [
        Self::Everybody,
        Self::Readers,
        Self::Accounts,
        Self::Viewers,
        Self::Sharers,
        Self::Member,
        Self::Owner,
        Self::Publisher,
        Self::Holder,
        Self::Proof,
        Self::Admins,
        Self::Closed,
    ];

    /// Words for the documentation: a name and its meaning.
    pub fn words(self) -> (&'static str, &'static str) {
        match self {
            Self::Everybody => ("everybody", "every request, with or without an account"),
            Self::Readers => (
                "readers",
                "every account; with `auth.public_read`, also requests without one, which then know of public and community images \
                 only",
            ),
            Self::Accounts => ("accounts", "every account"),
            Self::Viewers => (
                "viewers",
                "callers that see the image: its owner, the members of a shared image, and every reader of a public or community \
                 image; for others the image does not exist",
            ),
            Self::Sharers => ("sharers", "the image's owner, and members that may share it"),
            Self::Member => ("the member", "the member in question"),
            Self::Owner => (
                "the owner",
                "the image's owner; for viewers the answer is a refusal, for others the image does not exist",
            ),
            Self::Publisher => {
                ("publishers", "the image's owner with `auth.publish = \"owner\"`, administrators with `\"admin\"`")
            }
            Self::Holder => ("the holder", "the account that the thing belongs to"),
            Self::Proof => ("a proof", "requests that carry an account's keys, a token or a secret made for this"),
            Self::Admins => ("administrators", "accounts with administrator rights"),
            Self::Closed => ("no request", "not possible over the network"),
        }
    }
}

/// A row of the table: an action, and the callers that it is open to.
#[derive(Debug, Clone, Copy)]
pub struct Right {
    /// The action.
    pub action: Action,
    /// Callers that the action is open to, besides administrators.
    pub who: Who,
    /// The action in words, as they follow "may".
    pub words: &'static str,
    /// Further condition or effect, in words.
    pub condition: &'static str,
}

/// Writes the actions and the table together: no action is without its row.
macro_rules! actions {
    ($($action:ident: $who:ident, $words:literal, $condition:literal;)+) => {
        /// Actions that a request can mean.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Action {
            $(#[doc = concat!("To ", $words, ".")] $action,)+
        }

        impl Action {
            /// All actions, in the order of the table.
            pub const ALL: &[Self] = &[$(Self::$action),+];

            /// The row of this action.
            pub fn row(self) -> &'static Right {
                &ROWS[self as usize]
            }

            /// The name of this action in the code.
            pub fn name(self) -> &'static str {
                match self { $(Self::$action => stringify!($action)),+ }
            }
        }

        /// The table.
        pub const ROWS: &[Right] = &[
            $(Right { action: Action::$action, who: Who::$who, words: $words, condition: $condition }),+
        ];
    };
}

actions! {
    // The server.
    Discover: Everybody, "see which protocols and versions are served, and that the server is up", "";
    SeeSchemas: Readers, "see schemas and what can be asked for", "";
    SeeServer: Accounts, "see the server's addresses, its architecture, projects, profiles and instances", "";
    SeeStores: Readers, "see which stores there are", "Names and descriptions.";
    SeeStoreDetails: Admins, "see of what kind a store is", "Addresses and keys of stores are never shown.";
    SeeMetrics: Admins, "see how the server is doing: its counters, its disks and its cache", "Numbers, and URLs in the cache without their queries.";
    ChangeSettings: Closed, "change the server's settings", "They are in `visor.toml`.";

    // Images.
    ListImages: Readers, "list images",
        "A list has the caller's own images, public ones, and shared ones that the caller accepted; community images, and those \
         not accepted yet, when the list is asked for them. Administrators are shown all but others' community images.";
    SeeImage: Viewers, "see an image", "";
    SeeLocation: Owner, "see where the bytes of this image are",
        "Other viewers see the URL of an image that is read from one, without what follows its `?`.";
    Download: Viewers, "download an image", "";
    DownloadWithheld: Admins, "download an image that is withheld", "";
    CreateImage: Accounts, "create images",
        "A new image is private unless its protocol says otherwise: shared with no members in Glance's; in VISOR's public if the \
         caller may publish it.";
    SetOwner: Admins, "give an image to another account", "To name the owner that an image has is no change.";
    ChangeImage: Owner, "change this image",
        "Attributes, properties, tags, and every visibility but *public*. A kernel or ramdisk that it names has to be one that the \
         caller sees.";
    PublishImage: Publisher, "make this image public",
        "Asked whenever an image becomes public, and when a public image begins to be updated from another server. An image that is \
         public already stays so when something else of it changes, and so does a newer copy that takes its place.";
    DeleteImage: Owner, "delete this image", "A protected image has to be unprotected before.";
    DeleteOwnImages: Accounts, "delete all of the caller's images", "For an administrator, all images. Protected ones stay.";
    UploadBytes: Owner, "upload the bytes of this image", "In one request, in pieces, or staged for an import; and see how far it is, and cancel it.";
    LinkImage: Owner, "make, list and revoke share links to this image",
        "A link opens the bytes of this image, and nothing else, to every request that has it, with the rights of the account that \
         made it.";
    WithholdImage: Owner, "withhold the bytes of this image, or give them out again", "";

    // Bytes from elsewhere, and to elsewhere.
    ImportFromUrl: Owner, "import the bytes of this image from a URL", "The address has to pass `fetch.allow` and the guard of outbound requests.";
    ImportFile: Owner, "register a file of this machine as this image", "The file has to be below `stores.file.import_dirs`.";
    BeginTask: Admins, "begin a task that makes an image of a URL's bytes", "The address has to pass as for an import.";
    CopyFromServer: Accounts, "copy an image from another server", "";
    PackInstance: Accounts, "make an image of an instance", "The instance has to be listed in `lxd.instances`.";
    RefreshImage: Owner, "update this image from where it was copied", "";
    PushImage: Owner, "give this image to another server", "";
    MakeImageSecret: Owner, "make a secret for this image", "";
    AwaitImage: Accounts, "make a secret with which another server may send an image", "The image is the account's that made the secret.";
    UseSecret: Proof, "read or send the one image that a secret was made for", "In the name of the account that made it, once.";
    Pull: Accounts, "pull images of vendors, and files under URLs",
        "The image is the account's, public if it may publish; what is here already is not fetched again. The address has to pass \
         `fetch.allow` and the guard of outbound requests.";
    SeeVendors: Readers, "see the catalogue of vendors, and which images were pulled", "";
    SeeCache: Admins, "see what the cache has, and the servers that it asks", "";
    ManageCache: Admins, "refresh, remove and pin files of the cache, make room in it, and put it offline", "";
    ReadCache: Accounts, "read files of other servers through the cache",
        "Programs of this machine need no account; with `cache.public` no client does, and those without one read files of the hosts in \
         the catalogue of vendors and in `cache.hosts`. The address has to pass `fetch.allow` and the guard of outbound requests.";

    // Stores.
    ChooseStore: Owner, "choose the stores that the bytes of this image go to", "Any store that is configured, before the bytes come.";
    MoveBetweenStores: Owner, "move this image to another store", "Any store that is configured.";
    CopyBetweenStores: Admins, "add copies of an image that has its bytes to other stores, and remove copies", "The only copy stays.";

    // Sharing.
    ListMembers: Viewers, "see the members of an image", "Its owner sees all, a member itself. Only shared images have members.";
    ListShared: Readers, "list the images that are shared with an account",
        "The account itself sees all of them, others their own.";
    AddMember: Sharers, "add members to this image", "Whether a member may share it, and which members it has, is for its owner.";
    RemoveMember: Owner, "change and remove the members of this image", "";
    AnswerMembership: Member, "accept or reject an image", "";

    // Aliases.
    ListAliases: Accounts, "list aliases", "A list has those of the account's own images.";
    SeeAlias: Viewers, "see which image an alias stands for", "";
    ChangeAlias: Owner, "add, change and remove aliases of this image", "An alias of an owner stands for one image of each architecture and kind.";

    // Jobs.
    SeeJob: Holder, "see a job, and wait for it", "A request with the secret of a job may wait for it too.";
    StopJob: Holder, "stop a job", "";
    SeeJobsOfImage: Owner, "see the jobs of this image", "";
    SeeAllJobs: Admins, "see the jobs of every account", "";
    HearEvents: Accounts, "listen to events", "Events of the account's own; for administrators, all.";

    // Metadata definitions.
    SeeDefinitions: Readers, "see metadata definitions", "Private ones are their owner's.";
    ChangeDefinitions: Admins, "change metadata definitions", "Nothing of a protected one is deleted.";

    // Accounts, tokens and certificates.
    ManageAccounts: Admins, "list, create, change and delete accounts", "";
    SeeAccount: Holder, "look up an account, its project and its roles", "";
    LogIn: Proof, "get a token", "For the keys of an account, or a token of it.";
    UseToken: Holder, "see what a token is good for, and revoke it", "";
    AddCertificate: Accounts, "have another certificate trusted for the caller's own account, or make a token for one", "";
    JoinByProof: Proof, "have a certificate trusted", "For the keys of an account, or a token made for it.";
    SeeCertificate: Holder, "see and remove trusted certificates", "A restricted certificate sees and removes itself alone.";
    ChangeCertificate: Holder, "change the names and bounds of trusted certificates, and replace one",
        "Not with a restricted certificate.";
    RenewCertificate: Holder, "replace its own certificate by a new one", "Over a connection that shows the old one.";
}

impl Action {
    /// Tells if the action changes nothing that outlasts it, but for the caller's own proofs: its tokens and certificates.
    pub fn only_reads(self) -> bool {
        match self {
            Self::Discover
            | Self::SeeSchemas
            | Self::SeeServer
            | Self::SeeStores
            | Self::SeeStoreDetails
            | Self::SeeMetrics
            | Self::ListImages
            | Self::SeeImage
            | Self::SeeLocation
            | Self::Download
            | Self::DownloadWithheld
            | Self::ReadCache
            | Self::SeeVendors
            | Self::SeeCache
            | Self::UseSecret
            | Self::ListMembers
            | Self::ListShared
            | Self::ListAliases
            | Self::SeeAlias
            | Self::SeeJob
            | Self::SeeJobsOfImage
            | Self::SeeAllJobs
            | Self::HearEvents
            | Self::SeeDefinitions
            | Self::SeeAccount
            | Self::LogIn
            | Self::UseToken
            | Self::JoinByProof
            | Self::SeeCertificate
            | Self::RenewCertificate => true,
            Self::ChangeSettings
            | Self::CreateImage
            | Self::SetOwner
            | Self::ChangeImage
            | Self::PublishImage
            | Self::DeleteImage
            | Self::DeleteOwnImages
            | Self::UploadBytes
            | Self::LinkImage
            | Self::BeginTask
            | Self::WithholdImage
            | Self::ImportFromUrl
            | Self::ImportFile
            | Self::CopyFromServer
            | Self::Pull
            | Self::ManageCache
            | Self::PackInstance
            | Self::RefreshImage
            | Self::PushImage
            | Self::MakeImageSecret
            | Self::AwaitImage
            | Self::ChooseStore
            | Self::MoveBetweenStores
            | Self::CopyBetweenStores
            | Self::AddMember
            | Self::RemoveMember
            | Self::AnswerMembership
            | Self::ChangeAlias
            | Self::StopJob
            | Self::ChangeDefinitions
            | Self::ManageAccounts
            | Self::AddCertificate
            | Self::ChangeCertificate => false,
        }
    }
}
