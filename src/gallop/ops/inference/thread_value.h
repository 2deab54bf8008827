#pragma once

namespace gallop::ops {

/// What holds on this thread while an object of the class `Guard`, which derives from this, lives:
/// the value of the innermost one, and `outside` without any.
template <class Guard, class T, T outside = T{}>
class ThreadValue {
 public:
  ThreadValue(const ThreadValue&) = delete;
  ThreadValue& operator=(const ThreadValue&) = delete;
  static T active() { return current(); }

 protected:
  explicit ThreadValue(T value) : before_(current()) { current() = value; }
  ~ThreadValue() { current() = before_; }

 private:
  static T& current() {
    static thread_local T value = outside;
    return value;
  }

  T before_;
};

}  // namespace gallop::ops
