// SPDX-License-Identifier: Apache-2.0 Snapshots: what a resumed run does, bit for bit, for every kind of
// state; what is refused; what a killed process leaves.
#include "support/folder.hpp"
#include "support/toy.hpp"

#include <diloco/snapshot.hpp>
#include <diloco/transport/detail/late.hpp>

#include <doctest/doctest.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include <algorithm>
#include <csignal>

using namespace diloco;

namespace {

std::vector<std::size_t> const sizes{300, 7, 700, 5000, 64};

/// The toy's tensors, of which the first two may be bfloat16.
struct workload {
  toy::model wide;
  std::vector<std::vector<bfloat16>> narrow;
  std::vector<tensor> parameters;
  workload(std::uint64_t seed, bool bf16) : wide(sizes, seed), parameters(wide.parameters()) {
    for (std::size_t t = 0; bf16 && t < 2; ++t) {
      narrow.emplace_back(sizes[t]);
      for (std::size_t i = 0; i < sizes[t]; ++i) narrow[t][i] = {bf16_from_float(wide[t][i])};
      parameters[t].data = nullptr;
    }
    for (std::size_t t = 0; t < narrow.size(); ++t) parameters[t].bf16 = narrow[t].data();
  }
};

/// Trains up to a step that has steps of every fragment under way, and saves after each of them.
constexpr long last = 13;

template <class Recipe>
struct experiment {
  Recipe recipe;  // but for the transport
  int ranks;
  bool bf16 = false;

  /// Steps `from` + 1 to `last`; then all that is under way lands, and the state is saved.
  template <class Trainer>
  static void go_on(Trainer& t, workload& w, long from, std::string const& at_end,
                    std::string const& each_step) {
    int const rank = t.transport().rank();
    for (long step = from + 1; step <= last; ++step) {
      auto const& all = w.wide.gradients(rank, step);
      std::vector<std::span<float const>> some(all.begin(), all.end());
      if (step > 4) some.back() = {};  // its state stays that of an earlier step
      t.step(some, {.tokens = static_cast<double>(1 + (rank + 1) * step % 3)});
      if (!each_step.empty()) save(t, each_step, {.keep = 100});
    }
    if constexpr (!says_gradient<typename Trainer::recipe_type::signal_type>) t.sync();
    save(t, at_end);
  }
  void run(std::string const& at_end, std::string const& each_step) const {
    run_threads(ranks, [&](threads transport) {
      workload w(1, bf16);
      DiLoCo t(Recipe(recipe).with_transport(std::move(transport)), w.parameters);
      go_on(t, w, 0, at_end, each_step);
    });
  }
  void resume_at(long step, std::string const& at_end, std::string const& each_step) const {
    run_threads(ranks, [&](threads transport) {
      workload w(2, bf16);  // other values: all that counts must come from the file
      DiLoCo t(Recipe(recipe).with_transport(std::move(transport)), w.parameters);
      resumed const r = diloco::resume(t, each_step, {.step = static_cast<std::uint64_t>(step)});
      CHECK(r.steps == static_cast<std::uint64_t>(step));
      CHECK(r.ranks == ranks);
      CHECK(r.passed_over.empty());
      CHECK(r.set_to_zero.empty());
      go_on(t, w, step, at_end, {});
    });
  }
};

/// What differs first between two snapshots, or an empty text. All their bytes count, but for the digest
/// and the history of rounds: that hashes messages, and they carry the number that each process draws for
/// its run.
std::string difference(std::string const& one, std::string const& other) {
  auto a = safetensors::load(one), b = safetensors::load(other);
  if (!a || !b) return (a ? b : a).error().message;
  for (auto const& [name, text] : a->holds.notes) {
    std::string const* const there = b->holds.note(name);
    if (name != digest_note && name != "run" && !name.ends_with(".history") &&
        (there == nullptr || *there != text))
      return say({name, ": ", text, ", ", there == nullptr ? "nothing" : *there});
  }
  for (safetensors::entry const& e : a->holds.entries) {
    safetensors::entry const* const there = b->holds.find(e.name);
    if (there == nullptr || !std::ranges::equal(e.bytes, there->bytes)) return e.name;
  }
  return a->holds.entries.size() == b->holds.entries.size() ? "" : "more tensors";
}

/// Resumes after every step. At the end every byte of the state must be that of the run that went on.
template <class Recipe>
void check_resume(Recipe const& recipe, int ranks, bool bf16 = false) {
  experiment<Recipe> const e{recipe, ranks, bf16};
  support::folder const f;
  e.run(f.at("whole"), f.at("each"));
  for (long step = 1; step < last; ++step) {
    CAPTURE(step);
    std::string const end = f.at("end" + std::to_string(step));
    e.resume_at(step, end, f.at("each"));
    for (int r = 0; r < ranks; ++r) {
      std::string const name = snapshot_name{last, r, ranks}.text();
      CHECK(difference(f.at("whole/" + name), end + "/" + name) == "");
    }
  }
}

auto common() { return recipe<>{}.with_schedule(every(3)).with_clip_norm(2.0f).with_compressor(absmax<4>{}); }

}  // namespace

TEST_CASE("a resumed run is the run that went on, bit for bit") {
  SUBCASE("blocks, gather") { check_resume(common().with_exchange(toy::chosen{}), 3); }
  SUBCASE("scatter-gather: the owner's residual; 8-bit residuals; signs") {
    check_resume(common()
                     .with_compressor(sign<>{})
                     .with_feedback(averaged_error{})
                     .with_exchange(toy::chosen{pattern::scatter_gather}),
                 3);
  }
  SUBCASE("a shared estimate") {
    check_resume(common().with_compressor(absmax<8>{}).with_feedback(ef21{}), 2);
  }
  SUBCASE("streaming: three of four fragments under way, next to residuals that are not committed yet") {
    check_resume(common().with_schedule(streaming{.inner_steps = 8, .parts = 4, .delay = 5, .mix = 0.5f}), 2);
  }
  SUBCASE("streaming by scatter-gather, a compressor with memory, an optimizer of whole tensors") {
    check_resume(common()
                     .with_inner(adafactor{})
                     .with_compressor(low_rank<2>{})
                     .with_exchange(toy::chosen{pattern::scatter_gather})
                     .with_schedule(streaming{.inner_steps = 4, .parts = 2, .delay = 3}),
                 2);
  }
  SUBCASE("tensors that show samples") { check_resume(common().with_inner(ivon{}), 2); }
  SUBCASE("bfloat16 tensors, rounded stochastically, and an average beside θ") {
    check_resume(common().with_inner(schedule_free_adamw{}).with_bf16_rounding(rounding::stochastic, 7), 2,
                 true);
  }
  SUBCASE("momentum that is sent in place of inner steps") {
    check_resume(
        common().with_signal(momentum{}).with_inner(none{}).with_outer(adamw{}).with_schedule(every(1)), 2);
  }
  SUBCASE("ranks that pair") { check_resume(common().with_outer(noloco{}).with_exchange(gossip{}), 3); }
}

namespace {

/// One rank over two tensors, with a round every 3 steps.
struct lone {
  std::vector<float> a = std::vector<float>(300, 1.0f), b = std::vector<float>(20, 2.0f);
  std::vector<tensor> parameters{{"a", {20, 15}, a.data()}, {"b", {20}, b.data()}};
  DiLoCo<adamw, nesterov, absmax<4>, alone> trainer{{.transport = alone{}, .schedule = every(3)}, parameters};
  void steps(int n) {
    for (int i = 0; i < n; ++i) {
      std::vector<float> ga(a), gb(b);
      trainer.step(std::vector<std::span<float const>>{ga, gb});
    }
  }
};

template <class Result>
std::string said(Result const& r) {
  return r ? "no error" : r.error().message;
}

std::vector<std::string> files_in(std::string const& folder) {
  std::vector<std::string> all;
  for (auto const& e : std::filesystem::directory_iterator(folder)) all.push_back(e.path().filename());
  std::ranges::sort(all);
  return all;
}

std::span<std::byte const> bytes_of(std::string const& text) { return std::as_bytes(std::span(text)); }

/// `text` with one occurrence of `from` replaced by `to`, of the same length.
std::string replaced(std::string text, std::string const& from, std::string const& to) {
  auto const at = text.find(from);
  REQUIRE(at != std::string::npos);
  return text.replace(at, from.size(), to);
}

/// Writes a snapshot's bytes with a digest that fits them.
void write_signed(std::string const& path, std::string bytes) {
  std::string const key = "\"digest\":\"";
  auto const at = bytes.find(key) + key.size();
  bytes.replace(at, 16, 16, '0');
  byte_digest d;
  d.add(std::as_bytes(std::span(bytes)));
  support::write_bytes(path, bytes.replace(at, 16, detail::hex_text(d.value())));
}

}  // namespace

TEST_CASE("snapshots: the user's bytes, the newest two, and what the folder holds") {
  support::folder const f;
  lone run;
  std::string const folder = f.at("new");
  for (int i = 1; i <= 3; ++i) {
    run.steps(2);
    CHECK(said(try_save(run.trainer, folder,
                        {.user = bytes_of(std::string("batch ") + std::to_string(i))})) == "no error");
  }
  CHECK(files_in(folder) == std::vector<std::string>{"step-000000000004.rank-0-of-1.safetensors",
                                                     "step-000000000006.rank-0-of-1.safetensors"});
  CHECK(said(try_save(run.trainer, folder, {.keep = 1})) == "no error");  // the same step once more
  CHECK(files_in(folder).size() == 1);
  CHECK(said(try_save(run.trainer, folder, {.keep = 0})) == "diloco: save: keep = 0 must be at least 1");

  lone other;
  other.steps(1);
  auto const r = try_resume(other.trainer, folder);
  REQUIRE(r);
  CHECK(r->user.empty());
  CHECK(r->steps == 6);
  CHECK(r->rounds == 2);
  CHECK(r->ranks == 1);
  CHECK(other.a == run.a);
  CHECK(other.trainer.digest() == run.trainer.digest());
  other.steps(4);
  run.steps(4);
  CHECK(other.a == run.a);

  auto const file = safetensors::load(f.at("new/step-000000000006.rank-0-of-1.safetensors"));
  REQUIRE(file);
  std::vector<std::string> names;
  for (safetensors::entry const& e : file->holds.entries) names.push_back(e.name);
  CHECK(names == std::vector<std::string>{"anchor/a", "anchor/b", "inner.m/a", "inner.m/b", "inner.v/a",
                                          "inner.v/b", "outer.momentum/a", "outer.momentum/b", "residual/a",
                                          "residual/b", "theta/a", "theta/b", "user"});
  CHECK(file->holds.find("theta/a")->shape == std::vector<std::size_t>{20, 15});
}

TEST_CASE("snapshots: a damaged file is passed over, by name") {
  support::folder const f;
  lone run;
  for (int i = 0; i < 2; ++i) {
    run.steps(2);
    save(run.trainer, f.path());
  }
  std::string const newest = f.at("step-000000000004.rank-0-of-1.safetensors");
  std::string const good = support::bytes_of(newest);
  lone other;
  // Every length below the whole, and a flipped bit in each part of the file.
  for (std::size_t n = 0; n < good.size(); n += n < 4000 ? 97 : 1009) {
    support::write_bytes(newest, good.substr(0, n));
    auto const r = try_resume(other.trainer, f.path());
    REQUIRE(r);
    CHECK(r->steps == 2);
    REQUIRE(r->passed_over.size() == 1);
    CHECK(r->passed_over[0].find(newest) != std::string::npos);
  }
  for (std::size_t at = 0; at < good.size(); at += at < 4000 ? 41 : 401) {
    std::string bad = good;
    bad[at] = static_cast<char>(bad[at] ^ 4);
    support::write_bytes(newest, bad);
    auto const r = try_resume(other.trainer, f.path());
    REQUIRE(r);
    CHECK(r->steps == 2);
  }
  support::write_bytes(newest, good + " ");
  CHECK(resume(other.trainer, f.path()).steps == 2);
  support::write_bytes(newest, good);
  CHECK(resume(other.trainer, f.path()).steps == 4);
  CHECK(resume(other.trainer, f.path(), {.step = 2}).steps == 2);
  CHECK(said(try_resume(other.trainer, f.path(), {.step = 3})) ==
        say({"diloco: resume: '", f.path(),
             "' holds no snapshot of step 3 of 1 rank that every rank can read"}));
}

TEST_CASE("snapshots: folders that are refused, and files of another recipe or version") {
  support::folder const f;
  lone run;
  CHECK(
      said(try_resume(run.trainer, f.at("nothing"))) ==
      say({"diloco: resume: '", f.at("nothing"), "' holds no snapshot of 1 rank that every rank can read"}));
  CHECK(resume(run.trainer, f.at("nothing"), {.may_be_empty = true}).ranks == 0);
  CHECK(said(try_save(run.trainer, f.at("no/parent"))) ==
        say({"diloco: cannot make the folder '", f.at("no/parent"), "': No such file or directory"}));
  support::write_bytes(f.at("file"), "text");
  CHECK(said(try_save(run.trainer, f.at("file"))) ==
        say({"diloco: cannot read the folder '", f.at("file"), "': Not a directory"}));
  CHECK(said(try_resume(run.trainer, f.at("file"), {.may_be_empty = true})).find("Not a directory") !=
        std::string::npos);

  run.steps(4);
  std::string const folder = f.at("run"), name = "/step-000000000004.rank-0-of-1.safetensors";
  save(run.trainer, folder);
  lone second;
  second.steps(4);
  CHECK(said(try_save(second.trainer, folder)) ==
        say({"diloco: save: '", folder, "' holds '", name.substr(1),
             "' of another run; resume from it, or save into another folder"}));
  second.steps(1);
  save(run.trainer, folder, {.user = bytes_of("x")});
  resume(second.trainer, folder);
  second.steps(2);
  save(second.trainer, folder);  // a resumed run is the same run
  lone third;
  resume(third.trainer, folder, {.step = 4});
  CHECK(said(try_save(third.trainer, folder)) ==
        say({"diloco: save: '", folder,
             "' holds 'step-000000000006.rank-0-of-1.safetensors', and this run is at "
             "step 4; move the later ones away, or save into another folder"}));

  std::vector<float> x(300), y(20);
  std::vector<tensor> const list{{"a", {20, 15}, x.data()}, {"b", {20}, y.data()}};
  DiLoCo changed(recipe<>{}
                     .with_compressor(absmax<4>{})
                     .with_outer(nesterov{.lr = 0.4f})
                     .with_transport(alone{})
                     .with_schedule(every(3)),
                 list);
  CHECK(
      said(try_resume(changed, folder, {.step = 4})) ==
      say({"diloco: resume: '", folder, name,
           "' was saved by another recipe or of other tensors. It has 'outer optimizer's lr = 0.7', and this "
           "trainer has 'outer optimizer's lr = 0.4'"}));
  CHECK(changed.steps() == 0);
  std::vector<tensor> const turned{{"a", {15, 20}, x.data()}, {"b", {20}, y.data()}};
  DiLoCo<adamw, nesterov, absmax<4>, alone> other({.transport = alone{}, .schedule = every(3)}, turned);
  CHECK(said(try_resume(other, folder, {.step = 4})) ==
        say({"diloco: resume: '", folder, name,
             "' was saved by another recipe or of other tensors. It has 'tensor 0 = 'a' (20, 15)', and this "
             "trainer has 'tensor 0 = 'a' (15, 20)'"}));

  std::string const good = support::bytes_of(folder + name);
  std::string const changes[][3] = {
      {"\"diloco snapshot\":\"1\"", "\"diloco snapshot\":\"2\"",
       " has the format 2, and this version reads 1; resume with the version that saved it"},
      {"diloco snapshot", "someone's notes", " is no snapshot of diloco"},
      {"\"steps_taken\"", "\"steps_takem\"", " lacks the number 'steps_taken'"},
      {"anchor/b", "anchos/b", ": the tensor 'anchor/b' is missing"},
      {"\"residual/b\":{\"dtype\":\"F32\",\"shape\":[20]", "\"residual/b\":{\"dtype\":\"I32\",\"shape\":[20]",
       ": the tensor 'residual/b' has another type or shape here"}};
  lone victim;
  victim.steps(1);
  auto const before = victim.a;
  for (auto const& [from, to, sentence] : changes) {
    write_signed(folder + name, replaced(good, from, to));
    auto const r = try_resume(victim.trainer, folder, {.step = 4});
    CAPTURE(said(r));
    CHECK(said(r).find(sentence) != std::string::npos);
    CHECK(victim.a == before);
    CHECK(victim.trainer.steps() == 1);
  }
  support::write_bytes(folder + name, replaced(good, "digest\":", "digesT\":"));
  CHECK(said(try_resume(victim.trainer, folder, {.step = 4})).find(" has no digest; it is no snapshot") !=
        std::string::npos);
  // Another program that writes the file again gives it no digest that fits.
  support::write_bytes(folder + name, replaced(good, "\"steps\":\"4\"", "\"steps\":\"5\""));
  CHECK(said(try_resume(victim.trainer, folder, {.step = 4})).find("are not those that were written") !=
        std::string::npos);
}

TEST_CASE("snapshots: a full disk, a folder without permission, a flight of the caller's") {
  support::folder const f;
  lone run;
  run.steps(2);
  save(run.trainer, f.path());
  run.steps(1);
  rlimit before{};
  ::getrlimit(RLIMIT_FSIZE, &before);
  auto const handler = std::signal(SIGXFSZ, SIG_IGN);
  rlimit small = before;
  small.rlim_cur = 4096;
  ::setrlimit(RLIMIT_FSIZE, &small);
  auto const refused = try_save(run.trainer, f.path());
  ::setrlimit(RLIMIT_FSIZE, &before);
  std::signal(SIGXFSZ, handler);
  CHECK(said(refused) == say({"diloco: cannot write '", f.path(),
                              "/step-000000000003.rank-0-of-1.safetensors': File too large"}));
  CHECK(files_in(f.path()) == std::vector<std::string>{"step-000000000002.rank-0-of-1.safetensors"});
  run.steps(1);  // the run goes on
  if (::geteuid() != 0) {
    ::chmod(f.path().c_str(), 0555);
    CHECK(said(try_save(run.trainer, f.path())).find("Permission denied") != std::string::npos);
    ::chmod(f.path().c_str(), 0755);
  }
  support::write_bytes(f.at("step-000000000003.rank-0-of-1.safetensors.999999999.part"), "half");
  save(run.trainer, f.path());
  CHECK(files_in(f.path()).size() == 2);  // what a killed process left behind is gone

  std::vector<float> x(8), g(8, 0.1f);
  DiLoCo hand(recipe<>{}.with_transport(alone{}).with_schedule(manual{}),
              std::vector<tensor>{{"x", {8}, x.data()}});
  hand.step(std::vector<std::span<float const>>{g});
  auto open = hand.launch();
  CHECK(said(try_save(hand, f.at("hand"))) ==
        "diloco: save: the caller has launched round 0 of fragment 0; land it first");
  CHECK(said(try_resume(hand, f.at("hand"))) == "diloco: resume: round 0 is under way; land it first");
  hand.land(std::move(open));
  CHECK(said(try_save(hand, f.at("hand"))) == "no error");
}

TEST_CASE("snapshots: all ranks save and load, or none") {
  support::folder const f;
  auto const said_of = toy::on_each_rank(3, [&](threads transport) {
    int const rank = transport.rank();
    toy::model m(sizes);
    DiLoCo<adamw, nesterov, absmax<4>, threads> t({.transport = std::move(transport), .schedule = every(3)},
                                                  m.parameters());
    auto const steps = [&](int n) {
      for (int i = 0; i < n; ++i) t.step(m.gradients(rank, static_cast<long>(t.steps())));
    };
    std::vector<std::string> all;
    steps(2);
    save(t, f.path());
    steps(2);
    all.push_back(said(try_save(t, rank == 1 ? f.at("no/folder") : f.path())));
    steps(1);
    save(t, f.path());
    steps(1);
    // Rank 2 has lost its newest file. So all go back to the newest that every rank has, and that is step 2.
    if (rank == 2) std::filesystem::remove(f.at("step-000000000005.rank-2-of-3.safetensors"));
    resumed const r = resume(t, f.path());
    all.push_back(say({"step ", r.steps}));
    steps(1);
    save(t, f.path());  // removes the leftovers of step 5
    steps(4);
    all.push_back(say({t.digest()}));
    return all;
  });
  for (auto const& said : said_of) {
    CHECK(said[0].find("No such file or directory") != std::string::npos);
    CHECK(said[0].find("no/folder") != std::string::npos);
    CHECK(said[1] == "step 2");
    CHECK(said[2] == said_of[0][2]);
  }
  CHECK(files_in(f.path()).size() == 6);
  CHECK(files_in(f.path()).back() == "step-000000000003.rank-2-of-3.safetensors");
  CHECK(said_of[0][0].find("rank 1 has diloco: cannot make the folder") != std::string::npos);
}

TEST_CASE("snapshots: another number of ranks") {
  support::folder const f;
  auto const run = [&](int ranks, auto const& body) {
    return toy::on_each_rank(ranks, [&](threads transport) {
      int const rank = transport.rank();
      toy::model m(sizes);
      DiLoCo<adamw, nesterov, absmax<4>, threads, error_feedback, weighted_mean, scatter_gather> t(
          {.transport = std::move(transport), .schedule = every(3)}, m.parameters());
      auto const steps = [&](int n) {
        for (int i = 0; i < n; ++i) t.step(m.gradients(rank, static_cast<long>(t.steps())));
      };
      return body(t, m, rank, steps);
    });
  };
  auto const saved = run(2, [&](auto& t, auto& m, int, auto const& steps) {
    steps(4);
    save(t, f.path());
    auto state = toy::state_of(t, m);
    state["digest"] = {static_cast<std::uint32_t>(t.digest())};
    return state;
  });
  for (int ranks : {1, 3}) {
    auto const resumed_as = run(ranks, [&](auto& t, auto& m, int rank, auto const& steps) {
      for (bool const may_be_empty : {false, true}) {
        CHECK(said(try_resume(t, f.path(), {.may_be_empty = may_be_empty})) ==
              say({"diloco: resume: '", f.path(), "' holds no snapshot of ", ranks,
                   ranks == 1 ? " rank" : " ranks",
                   " that every rank can read; there is one of step 4 of 2 "
                   "ranks; start as many, or say other_ranks"}));
      }
      resumed const r = resume(t, f.path(), {.other_ranks = true});
      CHECK(r.ranks == 2);
      CHECK(r.steps == 4);
      // A rank that owns no part of these small tensors has no residual of an owner.
      for (std::string const& name : r.set_to_zero) CHECK((name == "residual" || name == "owner_residual"));
      CHECK((std::ranges::count(r.set_to_zero, "residual") == (rank < 2 ? 0 : 1)));
      auto state = toy::state_of(t, m);
      state["digest"] = {static_cast<std::uint32_t>(t.digest())};
      auto expected = saved[static_cast<std::size_t>(rank % 2)];
      for (auto& [name, bits] : expected) {
        if (rank == 2 && name.ends_with(" residual")) std::ranges::fill(bits, 0u);
      }
      CHECK(state == expected);
      steps(5);
      return t.digest();
    });
    for (auto const digest : resumed_as) CHECK(digest == resumed_as[0]);
  }
}

namespace {

/// Two ranks of a small model. `body` gets the trainer, a function that steps, and the rank.
template <class Body>
auto two_ranks(Body const& body, long shift = 0) {
  return toy::on_each_rank(2, [&](threads transport) {
    int const rank = transport.rank();
    toy::model m({300, 64});
    DiLoCo<adamw, nesterov, absmax<4>, threads> t({.transport = std::move(transport), .schedule = every(3)},
                                                  m.parameters());
    auto const steps = [&](int n) {
      for (int i = 0; i < n; ++i) t.step(m.gradients(rank, shift + static_cast<long>(t.steps())));
    };
    return body(t, steps, rank);
  });
}

}  // namespace

TEST_CASE("snapshots: files of two runs, and files under another name, are never mixed") {
  support::folder const f;
  auto const run = [&](std::string const& folder, long shift) {
    two_ranks(
        [&](auto& t, auto const& steps, int) {
          for (int i = 0; i < 2; ++i) steps(4), save(t, folder);
          return 0;
        },
        shift);
  };
  run(f.at("one"), 0);
  run(f.at("two"), 50);
  auto const found = [&] {
    return two_ranks([&](auto& t, auto const&, int) {
      resumed const r = resume(t, f.at("one"));
      return say({r.steps, r.passed_over.empty() ? std::string{} : " " + r.passed_over[0]});
    });
  };
  std::string const mine = f.at("one/step-000000000008.rank-1-of-2.safetensors"),
                    theirs = f.at("two/step-000000000008.rank-1-of-2.safetensors");
  std::string const good = support::bytes_of(mine);
  support::write_bytes(mine, support::bytes_of(theirs));
  for (std::string const& said : found()) {
    CHECK(said.starts_with("4 diloco: snapshot '"));
    CHECK(said.ends_with("': is of another run than those of other ranks"));
  }
  support::write_bytes(mine, support::bytes_of(f.at("one/step-000000000008.rank-0-of-2.safetensors")));
  CHECK(found()[1] ==
        say({"4 diloco: snapshot '", mine, "': is that of step 8, rank 0 of 2, under another name"}));
  support::write_bytes(mine, good);
  CHECK(found()[1] == "8");
}

TEST_CASE("snapshots: killed between the ranks' renames, the last one counts") {
  support::folder const f;
  two_ranks([&](auto& t, auto const& steps, int) {
    steps(4);
    save(t, f.path());
    return 0;
  });
  std::string const name = f.at("step-000000000004.rank-1-of-2.safetensors");
  std::filesystem::rename(name, name + ".999999999.part");
  for (std::string const &said : two_ranks([&](auto&t, auto const&steps, int) {
         resumed const r = resume(t, f.path(), {.may_be_empty = true});
         steps(1);
         save(t, f.path());
         return say({r.steps, " ", r.passed_over.size()});
       }))
    CHECK(said == "4 0");
  CHECK(files_in(f.path()).size() == 4);
  // Killed in its first save, a run begins anew: one rank has all of its file, the other half of it.
  support::folder const g;
  support::write_bytes(g.at("step-000000000004.rank-0-of-2.safetensors.999999999.part"),
                       support::bytes_of(f.at("step-000000000004.rank-0-of-2.safetensors")));
  support::write_bytes(g.at("step-000000000004.rank-1-of-2.safetensors.999999999.part"), "half");
  for (int const ranks :
       two_ranks([&](auto&t, auto const&, int) { return resume(t, g.path(), {.may_be_empty = true}).ranks; }))
    CHECK(ranks == 0);
  // Half of a file is nothing, and the others have nothing of that step.
  support::write_bytes(f.at("step-000000000009.rank-1-of-2.safetensors.999999999.part"),
                       support::bytes_of(name).substr(0, 3000));
  for (std::uint64_t const steps :
       two_ranks([&](auto&t, auto const&, int) { return resume(t, f.path()).steps; }))
    CHECK(steps == 5);
}

TEST_CASE("snapshots: a newer one of other ranks is neither passed over nor removed") {
  support::folder const f;
  two_ranks([&](auto& t, auto const& steps, int) {
    steps(4);
    save(t, f.path());
    return 0;
  });
  toy::on_each_rank(3, [&](threads transport) {
    int const rank = transport.rank();
    toy::model m({300, 64});
    DiLoCo<adamw, nesterov, absmax<4>, threads> t({.transport = std::move(transport), .schedule = every(3)},
                                                  m.parameters());
    resume(t, f.path(), {.other_ranks = true});
    for (int i = 0; i < 4; ++i) t.step(m.gradients(rank, i));
    save(t, f.path());
    return 0;
  });
  auto const said_of = two_ranks([&](auto& t, auto const& steps, int) {
    auto const refused = said(try_resume(t, f.path()));
    CHECK(resume(t, f.path(), {.step = 4}).steps == 4);
    steps(1);
    save(t, f.path(), {.keep = 1});
    return refused;
  });
  CHECK(said_of[1] == say({"diloco: resume: '", f.path(),
                           "' holds a newer snapshot than those of 2 ranks: there is "
                           "one of step 8 of 3 ranks; start as many, or say other_ranks, or name the step"}));
  auto const files = files_in(f.path());
  CHECK(std::ranges::count_if(files, [](auto const& n) { return n.find("-of-3.") != std::string::npos; }) ==
        3);
  CHECK(std::ranges::count_if(files, [](auto const& n) { return n.find("-of-2.") != std::string::npos; }) ==
        2);
}

TEST_CASE("snapshots: a run of another number of ranks keeps out of a folder, too") {
  support::folder const f;
  two_ranks([&](auto& t, auto const& steps, int) {
    steps(4);
    save(t, f.path());
    return 0;
  });
  lone other;
  other.steps(9);
  CHECK(said(try_save(other.trainer, f.path(), {.keep = 1})) ==
        say({"diloco: save: '", f.path(),
             "' holds 'step-000000000004.rank-0-of-2.safetensors' of another run; "
             "resume from it, or save into another folder"}));
  CHECK(files_in(f.path()).size() == 2);
}

TEST_CASE("snapshots: a save that fails on one rank leaves the older file of that step") {
  support::folder const f;
  two_ranks([&](auto& t, auto const& steps, int rank) {
    steps(4);
    save(t, f.path());
    std::string const own = f.at(snapshot_name{4, rank, 2}.text()), before = support::bytes_of(own);
    auto const again =
        try_save(t, rank == 1 ? f.at("no/folder") : f.path(), {.user = bytes_of("other bytes")});
    CHECK(said(again).find("No such file or directory") != std::string::npos);
    CHECK((support::bytes_of(own) == before));
    CHECK(said(try_save(t, f.path(), {.keep = rank})).find("keep = 0 must be at least 1") !=
          std::string::npos);
    steps(3);
    return 0;
  });
}

TEST_CASE("snapshots: a file that cannot get its name is everybody's error, and the older step stays") {
  support::folder const f;
  auto const in_the_way = f.at(snapshot_name{4, 1, 2}.text());
  two_ranks([&](auto& t, auto const& steps, int rank) {
    steps(2);
    save(t, f.path(), {.keep = 1});
    steps(2);
    if (rank == 1) REQUIRE(::mkdir(in_the_way.c_str(), 0700) == 0);
    std::string const text = said(try_save(t, f.path(), {.keep = 1}));
    CHECK(text.find("cannot rename") != std::string::npos);
    return 0;
  });
  CHECK(files_in(f.path()).size() == 3);  // two of step 2, and what is in the way
  REQUIRE(::rmdir(in_the_way.c_str()) == 0);
  two_ranks([&](auto& t, auto const&, int) {
    CHECK(resume(t, f.path()).steps == 2);
    return 0;
  });
}

TEST_CASE("snapshots: a save that failed on one rank does not count as one of the newest") {
  support::folder const f;
  auto const in_the_way = f.at(snapshot_name{4, 1, 2}.text());
  two_ranks([&](auto& t, auto const& steps, int rank) {
    for (int step : {2, 4, 6}) {
      steps(2);
      if (rank == 1 && step == 4) REQUIRE(::mkdir(in_the_way.c_str(), 0700) == 0);
      CHECK((said(try_save(t, f.path(), {.keep = 2})) == "no error") == (step != 4));
      if (rank == 1 && step == 4) REQUIRE(::rmdir(in_the_way.c_str()) == 0);
    }
    return 0;
  });
  CHECK(files_in(f.path()).size() == 4);  // two of step 2 and two of step 6
}

TEST_CASE("snapshots: what the owner of a shard keeps is of its exchange") {
  support::folder const f;
  auto const run = [&](auto exchange, bool resumes) {
    return toy::on_each_rank(4, [&](threads transport) {
      int const rank = transport.rank();
      toy::model m(sizes);
      DiLoCo t(recipe<>{}
                   .with_compressor(absmax<4>{})
                   .with_exchange(exchange)
                   .with_transport(std::move(transport))
                   .with_schedule(every(1)),
               m.parameters());
      std::vector<std::string> zeroed;
      if (resumes) zeroed = resume(t, f.path(), {.other_settings = true}).set_to_zero;
      for (long step = 1; step <= 2; ++step) t.step(m.gradients(rank, step));
      if (!resumes) save(t, f.path());
      return zeroed;
    });
  };
  run(two_level<>{2}, false);
  std::vector<std::string> const owner{"owner_residual"};
  CHECK(run(two_level<>{2}, true)[0].empty());
  CHECK(run(two_level<>{4}, true)[0] == owner);
  CHECK(run(scatter_gather{}, true)[0] == owner);
  CHECK(run(gather{}, true)[0].empty());
}

TEST_CASE("snapshots: numbers of two policies with one name are told apart") {
  support::folder const f;
  auto const with = [](std::uint64_t warmup) {
    return recipe<>{}
        .with_outer(
            scheduled{nesterov{}, inverse_square_root{.warmup = 4}, inverse_square_root{.warmup = warmup}})
        .with_transport(alone{})
        .with_schedule(every(1));
  };
  toy::model m(sizes);
  DiLoCo t(with(4), m.parameters());
  t.step(m.gradients(0, 1));
  save(t, f.path());
  DiLoCo other(with(8), m.parameters());
  CHECK(said(try_resume(other, f.path())).find("'outer optimizer's momentum_rate.warmup = 4'") !=
        std::string::npos);
}

TEST_CASE("snapshots: another delay passes over a landing that it did not launch") {
  support::folder const f;
  auto const with = [](long delay) {
    return recipe<>{}.with_transport(alone{}).with_schedule(
        streaming{.inner_steps = 4, .parts = 2, .delay = delay});
  };
  toy::model m(sizes);
  DiLoCo t(with(1), m.parameters());
  for (long step = 1; step <= 3; ++step) t.step(m.gradients(0, step));
  save(t, f.path());
  DiLoCo other(with(3), m.parameters());
  CHECK(resume(other, f.path(), {.other_settings = true}).steps == 3);
  for (long step = 4; step <= 20; ++step) CHECK(said(other.try_step(m.gradients(0, step))) == "no error");
  CHECK(other.rounds() > 7);
}

TEST_CASE("snapshots: one rank that cannot save now refuses for all, and the run goes on") {
  support::folder const f;
  auto const digests = toy::on_each_rank(2, [&](threads transport) {
    int const rank = transport.rank();
    toy::model m({300, 64});
    DiLoCo t(recipe<>{}.with_transport(std::move(transport)).with_schedule(delayed(4, 2)), m.parameters());
    for (long step = 1; step <= 4; ++step) {
      if (step == 4 && rank == 1) m[0][5] = std::numeric_limits<float>::infinity();
      t.step(m.gradients(rank, step));
    }
    CHECK(said(try_save(t, f.path()))
              .find("round 0 of fragment 0 is under way and will be dropped; save after it "
                    "has landed") != std::string::npos);
    t.step(m.gradients(rank, 5));
    CHECK(said(t.try_step(m.gradients(rank, 6))).find("rank 1: the pseudo-gradient of 't0'") !=
          std::string::npos);
    m[0][5] = t.cell("t0", "anchor")[5];
    for (long step = 7; step <= 10; ++step) t.step(m.gradients(rank, step));
    save(t, f.path());
    return t.digest();
  });
  CHECK(digests[0] == digests[1]);
}

TEST_CASE("snapshots: other numbers, where the caller says so") {
  support::folder const f;
  lone run;
  run.steps(4);
  save(run.trainer, f.path());
  std::vector<float> x(300), y(20);
  std::vector<tensor> const list{{"a", {20, 15}, x.data()}, {"b", {20}, y.data()}};
  auto const with = [](float lr) {
    return recipe<>{}
        .with_compressor(absmax<4>{})
        .with_outer(nesterov{.lr = lr})
        .with_transport(alone{})
        .with_schedule(every(3))
        .with_max_skipped_steps(7);
  };
  DiLoCo lower(with(0.4f), list);
  CHECK(said(try_resume(lower, f.path()))
            .find("It has 'outer optimizer's lr = 0.7', and this trainer has 'outer "
                  "optimizer's lr = 0.4'") != std::string::npos);
  auto const r = try_resume(lower, f.path(), {.other_settings = true});
  REQUIRE(r);
  CHECK(r->changed ==
        std::vector<std::string>{"'outer optimizer's lr = 0.7' became 'outer optimizer's lr = 0.4'",
                                 "'max_skipped_steps = 1000' became 'max_skipped_steps = 7'"});
  CHECK(x == run.a);
  DiLoCo other(recipe<>{}
                   .with_compressor(absmax<4>{})
                   .with_outer(fedadam{})
                   .with_transport(alone{})
                   .with_schedule(every(3)),
               list);
  CHECK(said(try_resume(other, f.path(), {.other_settings = true})).find("the tensor 'outer.") !=
        std::string::npos);
}

TEST_CASE("snapshots: a process that is killed at any time leaves one that loads") {
  support::folder const f;
  std::map<std::uint64_t, std::uint64_t> expected;  // digest of θ at each step
  auto const theta = [](lone const& l) {
    return mix64(digest_of(l.a.data(), l.a.size()), digest_of(l.b.data(), l.b.size()));
  };
  std::uint64_t at = 0, waits = 1;
  for (int kill = 0; kill < 100; ++kill) {
    pid_t const child = ::fork();
    if (child == 0) {
      lone run;
      static_cast<void>(resume(run.trainer, f.path(), {.may_be_empty = true}));
      for (;;) run.steps(1), save(run.trainer, f.path());
    }
    // Let it save once more, then end it a moment later, in the middle of what it does next.
    auto const newest = [&] {
      auto const names = snapshot_name::in(f.path());
      return names && !names->empty() ? names->front().step : 0;
    };
    for (auto const limit = deadline_after(30); newest() <= at && !detail::is_past(limit);) ::usleep(200);
    waits = mix64(waits, 7);
    ::usleep(static_cast<useconds_t>(waits % 6000));
    ::kill(child, SIGKILL);
    int status = 0;
    ::waitpid(child, &status, 0);
    REQUIRE(WIFSIGNALED(status));
    lone after;
    resumed const r = resume(after.trainer, f.path(), {.may_be_empty = true});
    CHECK(r.passed_over.empty());
    CHECK(r.steps >= at);
    at = r.steps;
    lone reference;
    if (r.steps < 1000) {
      reference.steps(static_cast<int>(r.steps));
      CHECK(theta(after) == theta(reference));
    }
  }
  CHECK(at >= 100);
}
