// Files of keys, the folder of those that are authorised, lists of users, and what they come to.
#include "daemon/access/access.h"

#include <filesystem>
#include <fstream>
#include <gmock/gmock.h>
#include <grp.h>
#include <pwd.h>
#include <sys/stat.h>
#include <unistd.h>

#include "schema/keys/client_keys.h"
#include "schema/keys/key_file.h"
#include "tests/daemon/fixture.h"

namespace dslad::daemon {
namespace {

namespace fs = std::filesystem;
using test::must;
using testing::HasSubstr;

class AccessTest : public ::testing::Test {
 protected:
  std::string path(const std::string& name) const { return (folder_.path() / name).string(); }

  void write(const std::string& name, const std::string& text, fs::perms mode = fs::perms(0600)) {
    fs::create_directories(fs::path(path(name)).parent_path());
    std::ofstream(path(name)) << text;
    fs::permissions(path(name), mode);
  }

  // The public key of a new pair, authorised under this name.
  std::string authorise(const std::string& name, const keys::KeyPair& pair = keys::make_key_pair()) {
    write("keys/" + name + ".pub", "dslad-public-key 1\npublic " + pair.public_key + "\n");
    return pair.public_key;
  }

  AccessSettings settings() {
    AccessSettings settings;
    settings.jobs_url = "tcp://127.0.0.1:1";
    settings.workers_url = settings.events_url = "ipc:///x";
    settings.secret_file = path("secret");
    settings.keys_folder = path("keys");
    return settings;
  }

  std::unique_ptr<Access> open() {
    if (!fs::exists(path("secret"))) must(keys::write_key_pair(path("secret"), keys::make_key_pair()));
    return must(Access::open(settings()));
  }

  test::TempDir folder_;
};

TEST_F(AccessTest, KeyPairIsReadAsItWasWritten) {
  const keys::KeyPair pair = keys::make_key_pair();
  must(keys::write_key_pair(path("key"), pair));
  EXPECT_EQ(must(keys::read_key_pair(path("key"))).secret_key, pair.secret_key);
  EXPECT_EQ(must(keys::read_public_key(path("key.pub"))), pair.public_key);
  EXPECT_EQ(keys::write_key_pair(path("key"), pair).error().code, ErrorCode::kRefused);
  EXPECT_EQ(keys::read_key_pair(path("none")).error().code, ErrorCode::kNotFound);
}

TEST_F(AccessTest, FileThatIsNoKeyIsNamedWithItsLine) {
  const keys::KeyPair pair = keys::make_key_pair();
  const auto fault = [&](const std::string& text) {
    write("file", text);
    const Result<keys::KeyPair> read = keys::read_key_pair(path("file"));
    return read ? "" : read.error().message;
  };
  const std::string form = "# comment\n\ndslad-secret-key 1\n";
  EXPECT_THAT(fault(""), HasSubstr("file:1: is empty"));
  EXPECT_THAT(fault("\n-----BEGIN KEY-----\n"), HasSubstr("file:2: is no key of dslad"));
  EXPECT_THAT(fault("dslad-secret-key 2\n"), HasSubstr("file:1: is a key of another version"));
  EXPECT_THAT(fault(form + "role admin\n"), HasSubstr("file:4: a line here begins with"));
  EXPECT_THAT(fault(form + "public abc\n"), HasSubstr("file:4: 'public' is followed by"));
  EXPECT_THAT(fault(form + "public " + pair.public_key + "\n"), HasSubstr("lacks"));
  EXPECT_THAT(
      fault(form + "public " + keys::make_key_pair().public_key + "\nsecret " + pair.secret_key + "\n"),
      HasSubstr("not that of the secret one"));
  EXPECT_THAT(fault("dslad-public-key 1\npublic " + pair.public_key + "\n"), HasSubstr("is a public key"));
  EXPECT_THAT(fault(std::string(100'000, '#')), HasSubstr("too long"));
  EXPECT_EQ(fault(form + "public " + pair.public_key + "\r\nsecret\t" + pair.secret_key), "");
  fs::permissions(path("file"), fs::perms(0604));
  EXPECT_THAT(keys::read_key_pair(path("file")).error().message, HasSubstr("chmod 600"));
  EXPECT_THAT(keys::read_public_key(path("file")).error().message, HasSubstr("secret key"));
  EXPECT_FALSE(keys::read_public_key(folder_.path()));
}

TEST_F(AccessTest, TcpNeedsKeysAndLocalSocketsNone) {
  EXPECT_FALSE(must(keys::keys_for("ipc:///x", {path("a"), path("b")})));
  const auto none = keys::keys_for("tcp://h:1", {path("a"), path("b")});
  EXPECT_THAT(none.error().message, testing::AllOf(HasSubstr(path("b")), HasSubstr("dslactl keygen")));
  must(keys::write_key_pair(path("b"), keys::make_key_pair()));
  EXPECT_THAT(keys::keys_for("tcp://h:1", {path("a"), path("b")}).error().message, HasSubstr("--server-key"));
  must(keys::write_key_pair(path("server"), keys::make_key_pair()));
  EXPECT_TRUE(must(keys::keys_for("tcp://h:1", {path("server.pub"), path("b")})));
}

TEST_F(AccessTest, FolderSaysWhatAKeyMayDo) {
  const std::string sue = authorise("submit/sue"), rita = authorise("read/rita"),
                    ada = authorise("admin/ada"), wanda = authorise("workers/wanda");
  const auto access = open();
  EXPECT_EQ(access->client({std::nullopt, sue}).role, Role::kSubmit);
  EXPECT_EQ(access->client({std::nullopt, sue}).owner, "key:sue");
  EXPECT_EQ(access->client({std::nullopt, rita}).role, Role::kRead);
  EXPECT_EQ(access->client({std::nullopt, ada}).role, Role::kAdmin);
  EXPECT_EQ(access->client({std::nullopt, wanda}).role, Role::kNone);
  EXPECT_TRUE(access->is_worker({std::nullopt, wanda}));
  EXPECT_FALSE(access->is_worker({std::nullopt, ada}));
  EXPECT_TRUE(access->lets_in(kClientDomain, sue, 0));
  EXPECT_FALSE(access->lets_in(kWorkerDomain, sue, 0));
  EXPECT_FALSE(access->lets_in(kClientDomain, wanda, 0));
}

TEST_F(AccessTest, NobodyIsNobody) {
  authorise("submit/sue");
  const auto access = open();
  EXPECT_EQ(access->client({}).role, Role::kNone);
  EXPECT_FALSE(access->is_worker({}));
  EXPECT_FALSE(access->lets_in(kClientDomain, "", 0));
}

TEST_F(AccessTest, FolderIsReadAgainWhenItChanges) {
  const std::string sue = authorise("submit/sue");
  const auto access = open();
  const std::string sam = authorise("submit/sam");
  EXPECT_TRUE(access->lets_in(kClientDomain, sam, 10'000)) << "at once, as he knocks";
  fs::rename(path("keys/submit/sue.pub"), path("keys/submit/away"));
  access->tick(20'000);
  EXPECT_EQ(access->client({std::nullopt, sue}).role, Role::kNone);
  EXPECT_EQ(access->client({std::nullopt, sam}).role, Role::kSubmit);
  const std::string new_sam = authorise("submit/sam");
  access->tick(20'500);
  EXPECT_EQ(access->client({std::nullopt, sam}).role, Role::kSubmit) << "it looks once a second";
  access->tick(21'100);
  EXPECT_EQ(access->client({std::nullopt, sam}).role, Role::kNone);
  EXPECT_EQ(access->client({std::nullopt, new_sam}).owner, "key:sam");
  fs::remove_all(path("keys"));
  access->reload(settings());
  EXPECT_EQ(access->client({std::nullopt, new_sam}).role, Role::kNone);
}

TEST_F(AccessTest, TwoThatAreOneCountAsTheOneWithFewerRights) {
  const keys::KeyPair pair = keys::make_key_pair();
  authorise("admin/sue", pair);
  authorise("submit/other", pair);
  const std::string ada = authorise("admin/ada");
  const std::string weaker = authorise("read/ada");
  const auto keys = AuthorisedKeys::read(path("keys"));
  EXPECT_EQ(keys.client(pair.public_key)->role, Role::kSubmit);
  EXPECT_EQ(keys.client(ada), nullptr);
  EXPECT_EQ(keys.client(weaker)->role, Role::kRead);
  EXPECT_THAT(keys.faults(), testing::UnorderedElementsAre(HasSubstr("admin/sue.pub: is left out"),
                                                           HasSubstr("admin/ada.pub: is left out")));
}

TEST_F(AccessTest, SocketOnTcpIsNotOpenedWithoutKeys) {
  EXPECT_THAT(Access::open(settings()).error().message,
              testing::AllOf(HasSubstr("listen.jobs"), HasSubstr("dslactl keygen " + path("secret"))));
  must(keys::write_key_pair(path("secret"), keys::make_key_pair()));
  EXPECT_THAT(Access::open(settings()).error().message,
              testing::AllOf(HasSubstr("keys.authorised"), HasSubstr(path("keys"))));
  authorise("workers/wanda");
  EXPECT_FALSE(Access::open(settings())) << "a worker's key opens nothing to clients";
  authorise("read/rita");
  EXPECT_TRUE(Access::open(settings()));
}

TEST_F(AccessTest, RootAndTheDaemonsUserAreAdminsAndOthersSubmit) {
  AccessSettings local = settings();
  local.jobs_url = "ipc:///x";
  const auto access = must(Access::open(local));
  const std::uint32_t other = ::geteuid() + 4'000;
  EXPECT_EQ(access->client({LocalUser{0, 0}, ""}).role, Role::kAdmin);
  EXPECT_EQ(access->client({LocalUser{::geteuid(), 7}, ""}).role, Role::kAdmin);
  EXPECT_EQ(access->client({LocalUser{other, 0}, ""}).role, Role::kSubmit);
  EXPECT_EQ(access->client({LocalUser{other, 0}, ""}).owner, "uid:" + std::to_string(other));
  EXPECT_TRUE(access->is_worker({LocalUser{0, 0}, ""}));
  EXPECT_FALSE(access->is_worker({LocalUser{other, 0}, ""}));
}

TEST_F(AccessTest, FirstListThatNamesSomebodyCounts) {
  AccessSettings local = settings();
  local.jobs_url = "ipc:///x";
  local.admin = "4001,@4100";
  local.read = "4001, 4002";
  local.submit = "4003";
  local.workers = "4004";
  const auto access = must(Access::open(local));
  const auto role = [&](std::uint32_t uid, std::uint32_t gid = 1) {
    return access->client({LocalUser{uid, gid}, ""}).role;
  };
  EXPECT_EQ(role(4001), Role::kAdmin);
  EXPECT_EQ(role(4002), Role::kRead);
  EXPECT_EQ(role(4003), Role::kSubmit);
  EXPECT_EQ(role(4004), Role::kNone);
  EXPECT_EQ(role(4004, 4100), Role::kAdmin);
  EXPECT_TRUE(access->is_worker({LocalUser{4004, 1}, ""}));
}

TEST_F(AccessTest, ListsOfUsersAreTakenAnewUnlessTheyAreWrong) {
  AccessSettings local = settings();
  local.jobs_url = "ipc:///x";
  const auto access = must(Access::open(local));
  local.read = "4002";
  access->reload(local);
  EXPECT_EQ(access->client({LocalUser{4002, 1}, ""}).role, Role::kRead);
  local.read = "no-such-user";
  access->reload(local);
  EXPECT_EQ(access->client({LocalUser{4002, 1}, ""}).role, Role::kRead);
}

TEST_F(AccessTest, NamesOfUsersAndGroupsAreLookedUp) {
  const passwd* const user = ::getpwuid(0);
  const group* const users_group = ::getgrgid(0);
  ASSERT_TRUE(user != nullptr && users_group != nullptr);
  EXPECT_TRUE(must(UserList::resolve("k", user->pw_name)).holds({0, 5}));
  EXPECT_TRUE(must(UserList::resolve("k", std::string("none @") + users_group->gr_name)).holds({5, 0}));
  EXPECT_FALSE(must(UserList::resolve("k", "none")).holds({5, 5}));
  EXPECT_TRUE(must(UserList::resolve("k", "all")).holds({5, 5}));
  EXPECT_THAT(UserList::resolve("access.read", "no-such-user").error().message,
              testing::AllOf(HasSubstr("access.read"), HasSubstr("no-such-user")));
  EXPECT_FALSE(UserList::resolve("k", "@no-such-group"));
}

TEST(RightsTest, UnknownRequestIsForNobody) {
  EXPECT_EQ(rights_of(Role::kAdmin, "made_up"), Rights::kNone);
  EXPECT_EQ(rights_of(Role::kNone, "ping"), Rights::kNone);
}

}  // namespace
}  // namespace dslad::daemon
