// What a thread of the database is given to do: a function that captures nothing, and the inputs that it is
// to have, which are copied. So it owns all that it touches, and an object of the loop, `this` above all,
// cannot come to another thread with it: that does not compile. What follows on the loop's thread is a
// function of another type, which may (executor.h).
//
// Work is a value; copies share one function and its inputs, which never change, so it may be done again.
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <optional>
#include <string_view>
#include <tuple>
#include <type_traits>
#include <utility>

#include "base/result.h"
#include "daemon/store/sqlite.h"

namespace dslad::daemon {

// What work tells besides its reply, even where it fails and leaves no trace in the database. The work writes
// it, and what follows the work reads it.
template <typename T>
class Aside {
 public:
  // Implicit, since the store's functions tell through such a pointer.
  operator std::optional<T>*() const { return told_.get(); }  // NOLINT
  // REQUIRES: told()
  [[nodiscard]] T& operator*() const { return **told_; }
  [[nodiscard]] T* operator->() const { return &**told_; }
  void tell(T what) const { *told_ = std::move(what); }
  [[nodiscard]] bool told() const { return told_->has_value(); }

 private:
  std::shared_ptr<std::optional<T>> told_ = std::make_shared<std::optional<T>>();
};

// Whether a value of the type is safe on a thread of its own: it refers to nothing that another may change or
// end. A std::function may, so its type is named here by whoever vouches for what is in it.
template <typename T>
inline constexpr bool kIsOwned = !std::is_pointer_v<T>;
template <typename T>
inline constexpr bool kIsOwned<std::reference_wrapper<T>> = false;
template <typename Char>
inline constexpr bool kIsOwned<std::basic_string_view<Char>> = false;
template <typename Signature>
inline constexpr bool kIsOwned<std::function<Signature>> = false;
template <typename T>
inline constexpr bool kIsOwned<std::shared_ptr<T>> = std::is_const_v<T>;
template <typename T>
inline constexpr bool kIsOwned<std::shared_ptr<std::atomic<T>>> = true;

template <typename T>
concept OwnedInput = kIsOwned<T>;

template <typename F>
concept CapturesNothing = std::is_empty_v<F> || std::is_function_v<std::remove_pointer_t<F>>;

// `Given`: what the thread adds of its own.
template <typename Reply, typename... Given>
class Work {
 public:
  // `run` is called with the connection, what is given, and the inputs.
  template <CapturesNothing Run, OwnedInput... Inputs>
  requires std::is_invocable_r_v<Result<Reply>, Run, Database&, Given..., const Inputs&...> explicit Work(
      Run run, Inputs... inputs)
      : run_(std::make_shared<const Function>(
            [run, inputs = std::make_tuple(std::move(inputs)...)](Database& db, Given... given) {
              return std::apply([&](const Inputs&... each) { return run(db, given..., each...); }, inputs);
            })) {}

  Result<Reply> operator()(Database& db, Given... given) const { return (*run_)(db, given...); }

 private:
  using Function = std::function<Result<Reply>(Database&, Given...)>;
  std::shared_ptr<const Function> run_;
};

namespace detail {

template <typename Outcome>
struct ReplyOf;
template <typename Reply>
struct ReplyOf<Result<Reply>> {
  using Type = Reply;
};

}  // namespace detail

template <typename Run, typename... Inputs>
Work(Run, Inputs...)
    -> Work<typename detail::ReplyOf<std::invoke_result_t<Run, Database&, const Inputs&...>>::Type>;

}  // namespace dslad::daemon
